//! How a child gives up its rights, for good: nothing here can be undone by the process that did it.
//!
//! First, while nobody's code or data is near: no inherited descriptors, no new privileges, no core dumps, no debugger,
//! death with the parent, no file system and no network (landlock). Then, when everything is in place, every system
//! call but a short list (seccomp); any other kills the process at once.

use std::collections::BTreeMap;

use landlock::{ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus, Scope};
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use crate::error::Confinement;

/// Gives up everything that a child can do without from its first moment.
///
/// Must be called before the process has threads: landlock binds the calling thread and those it starts later.
pub(crate) fn withdraw() -> Result<(), Confinement> {
    close_inherited()?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|cause| Confinement::at("dying with the parent")(&cause))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|cause| Confinement::at("forbidding debuggers")(&cause))?;
    limit(Resource::Core, 0)?;
    limit(Resource::Nofile, 16)?;
    rustix::thread::set_no_new_privs(true).map_err(|cause| Confinement::at("forbidding new privileges")(&cause))?;
    landlock()
}

/// Lowers a resource limit for good.
pub(crate) fn limit(resource: Resource, to: u64) -> Result<(), Confinement> {
    rustix::process::setrlimit(resource, Rlimit { current: Some(to), maximum: Some(to) })
        .map_err(|cause| Confinement::at("lowering a resource limit")(&cause))
}

/// Only the socket and the null devices stay, whatever the parent forgot to mark close-on-exec.
fn close_inherited() -> Result<(), Confinement> {
    // SAFETY: called first thing in the process, before anything in it owns a descriptor above standard error.
    #[allow(unsafe_code, reason = "closes descriptors that nothing in this process knows of")]
    let refused = unsafe { libc::close_range(3, libc::c_uint::MAX, 0) } != 0;
    if refused { Err(Confinement::at("closing descriptors")(&std::io::Error::last_os_error())) } else { Ok(()) }
}

/// No file can be opened, no port used, no other process signalled.
///
/// The rights over files that the first version knew are a must; what later kernels can also take away is taken
/// where it is known. (Network and signals are out of reach anyway once [`Filter::enter`] was called.)
fn landlock() -> Result<(), Confinement> {
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .and_then(|rules| {
            rules
                .set_compatibility(CompatLevel::BestEffort)
                .handle_access(AccessFs::from_all(ABI::V5))?
                .handle_access(AccessNet::from_all(ABI::V5))?
                .scope(Scope::from_all(ABI::V6))?
                .create()?
                .restrict_self()
        })
        .map_err(|cause| Confinement::at("landlock")(&cause))?;
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err(Confinement::at("landlock")(&"not enforced by this kernel"));
    }
    Ok(())
}

/// A list of system calls, ready to be enforced. Of several programs the strictest answer holds.
pub(crate) struct Filter(Vec<BpfProgram>);

/// What a worker needs to run a guest: memory, the signals that traps are made of, its socket and the chunk buffer.
const WORKER: &[libc::c_long] = &[
    libc::SYS_brk,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_pread64,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_sigaltstack,
];

/// What a compiler needs besides: its threads (started before), and to hand over its work.
const COMPILER: &[libc::c_long] = &[
    libc::SYS_clock_gettime,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_pwrite64,
    libc::SYS_sched_yield,
];

impl Filter {
    /// For a worker that has mapped its native code: memory can no longer be made executable.
    pub(crate) fn worker() -> Result<Self, Confinement> {
        let mut rules = unconditional(WORKER);
        for call in [libc::SYS_mmap, libc::SYS_mprotect] {
            let execution = SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64);
            rules.insert(call, vec![rule(2, execution, 0)?]);
        }
        // The standard library asks, where debug assertions are on, whether what it closes is open.
        rules.insert(libc::SYS_fcntl, vec![rule(1, SeccompCmpOp::Eq, libc::F_GETFD as u64)?]);
        Ok(Self(vec![program(rules, SeccompAction::KillProcess, SeccompAction::Allow)?]))
    }

    /// For a compiler that has started its threads.
    ///
    /// Opening a file fails instead of killing it: the C library's allocator looks into `/proc` when one of several
    /// threads frees much memory, and does without if it cannot.
    pub(crate) fn compiler() -> Result<Self, Confinement> {
        let opening = unconditional(&[libc::SYS_openat]);
        let mut rules = unconditional(WORKER);
        rules.extend(unconditional(COMPILER));
        rules.extend(opening.clone());
        let refused = SeccompAction::Errno(libc::EACCES as u32);
        Ok(Self(vec![
            program(opening, SeccompAction::Allow, refused)?,
            program(rules, SeccompAction::KillProcess, SeccompAction::Allow)?,
        ]))
    }

    /// From here on any other system call, on any thread, kills the process.
    pub(crate) fn enter(&self) -> Result<(), Confinement> {
        // The last program forbids to install another.
        for program in &self.0 {
            seccompiler::apply_filter_all_threads(program).map_err(|cause| Confinement::at("seccomp")(&cause))?;
        }
        Ok(())
    }
}

fn program(
    rules: BTreeMap<libc::c_long, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Result<BpfProgram, Confinement> {
    let refused = |cause: seccompiler::BackendError| Confinement::at("seccomp")(&cause);
    let arch = std::env::consts::ARCH.try_into().map_err(refused)?;
    let filter = SeccompFilter::new(rules, otherwise, matched, arch).map_err(refused)?;
    filter.try_into().map_err(refused)
}

fn unconditional(calls: &[libc::c_long]) -> BTreeMap<libc::c_long, Vec<SeccompRule>> {
    calls.iter().map(|call| (*call, Vec::new())).collect()
}

/// Matches a call by one of its arguments.
fn rule(argument: u8, comparison: SeccompCmpOp, value: u64) -> Result<SeccompRule, Confinement> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, comparison, value)
        .and_then(|condition| SeccompRule::new(vec![condition]))
        .map_err(|cause| Confinement::at("seccomp")(&cause))
}
