//! Appraisals per second of processor time, as one JSON object: `cargo run --release -p attest --example appraise`.
//!
//! Makes a software TPM, lets it quote once, and appraises that evidence again and again: with the endorsement chain
//! remembered, as appraisers do, and with it checked each time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use attest::{
    Attester, Challenge, Endorsement, Expectation, Request, appraise, appraise_endorsed, launcher,
    release::ReleaseKey,
    simulated::{Authority, Device},
};
use model::{AccountId, AppraisalPolicy, Blob, BlockRef, Canonical, Digest, NetworkId, Role, TrustAnchors, Validator};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const WINDOW_MS: u64 = 3_600_000;

fn main() -> Outcome<()> {
    let dir = tempfile::tempdir()?;
    let authority = Authority::create(&dir.path().join("authority"))?;
    let tpm_dir = dir.path().join("tpm");
    authority.manufacture(&tpm_dir, "node")?;
    let anchors = TrustAnchors { hardware: vec![], simulated: vec![authority.root()?] };

    let release_key = ReleaseKey::generate()?;
    let device = Device::start(&tpm_dir)?;
    let intermediates = device.intermediates()?;
    let mut tpm = device.into_tpm()?;
    let release = release_key.release(Digest::of(b"binary"), 1);
    let log =
        launcher::extend_and_log(&mut tpm, &dir.path().join("log"), release.statement.binary, Some(release.statement))?;
    let mut attester = Attester::open(tpm, intermediates)?;

    let now_ms = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())? + 5_000;
    let policy = AppraisalPolicy {
        release_key: release_key.public().to_bytes(),
        release_counter_min: 1,
        pcrs: vec![0, 1, 2, 3, 4, 5, 6, 7, 14],
        verdict_ms: 2 * WINDOW_MS,
        window_ms: WINDOW_MS,
        appraisers: 1,
        evidence_age_ms_max: 60_000,
    };
    let request = Request {
        role: Role::Executor,
        window: now_ms / WINDOW_MS,
        block: BlockRef { height: 1, time_ms: now_ms, digest: Digest::of(b"header") },
    };
    let network = NetworkId([7; 32]);
    let registration = attester.registration(AccountId([1; 32]), Blob(vec![0; 1216]), "me".into(), "here".into());
    let quoting = Instant::now();
    let evidence = attester.evidence(&network, &registration, request, &policy.pcrs, &log)?;
    let quoting = quoting.elapsed();
    let approved = Validator {
        node: registration.node,
        operator: registration.operator.clone(),
        region: registration.region.clone(),
        endorsement: registration.endorsement,
    };
    let expectation = Expectation {
        network,
        policy: &policy,
        anchors: &anchors,
        approved: &approved,
        role: request.role,
        window: request.window,
        block: request.block,
        now_ms,
        last_seen: None,
    };

    let endorsement = Endorsement::check(&evidence.tpm.endorsement_chain, &anchors, now_ms)?;
    let appraised = appraise(&evidence, &log, &expectation)?;
    let full = per_second(|| appraise(&evidence, &log, &expectation).is_ok());
    let remembered = per_second(|| appraise_endorsed(&evidence, &log, &expectation, &endorsement).is_ok());
    let challenges = per_second(|| Challenge::for_appraised(&appraised, &[1; 32]).is_ok());
    let evidence_bytes = f64::from(u32::try_from(evidence.to_bytes().len())?);
    let rows = [
        row("evidence appraised, one core", remembered.round(), "/s", Some("> 1,000")),
        row("evidence appraised with its endorsement chain, one core", full.round(), "/s", None),
        row("challenges made, one core", challenges.round(), "/s", None),
        row("evidence made by a software TPM", (quoting.as_secs_f64() * 1e4).round() / 10.0, "ms", None),
        row("size of evidence", evidence_bytes, "bytes", None),
    ];
    println!("{}", serde_json::json!({ "rows": rows }));
    Ok(())
}

/// How often `work` succeeds in a second of processor time, over two of them.
fn per_second(mut work: impl FnMut() -> bool) -> f64 {
    let (started, patience) = (processor_time(), Instant::now());
    let mut times = 0u32;
    while processor_time() - started < Duration::from_secs(2) && patience.elapsed() < Duration::from_secs(15) {
        assert!(work(), "evidence that passed once passes always");
        times += 1;
    }
    f64::from(times) / (processor_time() - started).as_secs_f64()
}

/// Time this thread has run: other programs on the machine shall not count. Wall time where Linux does not tell.
fn processor_time() -> Duration {
    static STARTED: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|said| said.split_whitespace().next()?.parse().ok())
        .filter(|nanoseconds| *nanoseconds > 0)
        .map_or_else(|| STARTED.elapsed(), Duration::from_nanos)
}

fn row(what: &str, value: f64, unit: &str, goal: Option<&str>) -> serde_json::Value {
    serde_json::json!({ "what": what, "value": value, "unit": unit, "peer": null, "ratio": null, "goal": goal })
}
