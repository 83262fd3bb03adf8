//! Worker and compiler for this crate's tests, and workers that try what a worker must not be able to do.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["compiler"] => sandbox::compiler_main(),
        ["worker"] => sandbox::worker_main(),
        ["worker", act] => sandbox::worker_main_with(|| perform(act)),
        _ => ExitCode::from(2),
    }
}

/// Each of these is refused by the kernel, which kills the process; only `nothing` comes back.
fn perform(act: &str) {
    match act {
        "open-file" => drop(std::fs::File::open("/etc/passwd")),
        "list-files" => drop(std::fs::read_dir("/")),
        "open-socket" => drop(std::net::TcpStream::connect("127.0.0.1:1")),
        "start-process" => drop(std::process::Command::new("/bin/true").spawn()),
        "start-thread" => drop(std::thread::Builder::new().spawn(|| ())),
        "map-executable" => map_executable(),
        "signal-init" => {
            let _ = rustix::process::kill_process(rustix::process::Pid::INIT, rustix::process::Signal::CONT);
        }
        "abort" => std::process::abort(),
        "panic" => panic!("as asked"),
        "hang" => loop {
            std::hint::spin_loop();
        },
        _ => {}
    }
}

fn map_executable() {
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
    // SAFETY: a new mapping at an address that the kernel chooses touches nothing that exists.
    #[allow(unsafe_code, reason = "there is no other way to ask for executable memory")]
    let _ = unsafe {
        mmap_anonymous(
            std::ptr::null_mut(),
            4096,
            ProtFlags::READ | ProtFlags::WRITE | ProtFlags::EXEC,
            MapFlags::PRIVATE,
        )
    };
}
