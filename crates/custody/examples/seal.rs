//! How fast one core seals: prints one JSON object. Run it with `--release`.
//!
//! `seal` is sealing alone; `seal_hash` adds the SHA-256 of every ciphertext chunk that IPFS needs for its CID. Compare
//! `seal_hash` with 1 / (2 / sha256 + 1 / aes_256_gcm) from `openssl speed` on the same core, whose goal is 0.7.
//! `sha256` and `aes_256_gcm` are the same primitives from the library used here. Everything counts the processor's time and
//! not the clock's, as `openssl speed` does, so that a ratio means something on a machine that others use too.

use std::{
    io::{self, Read},
    process::Command,
    time::Duration,
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    digest::{SHA256, digest},
};
use custody::{ContentKey, SealError, Sealer};

/// So long that the ticks in which Linux counts the time of a thread make no difference.
const BYTES: usize = 256 << 20;
const BLOCK: usize = 1 << 20;
const ROUNDS: u32 = 4;

/// Gives the same MiB again and again, so that no disk is measured.
struct Pattern<'a> {
    block: &'a [u8],
    left: usize,
}

impl Read for Pattern<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = buffer.len().min(self.block.len()).min(self.left);
        buffer[..bytes].copy_from_slice(&self.block[..bytes]);
        self.left -= bytes;
        Ok(bytes)
    }
}

fn seal(block: &[u8], mut sink: impl FnMut(&[u8])) -> Result<(), SealError> {
    let mut sealer = Sealer::new(Pattern { block, left: BYTES }, &ContentKey::generate()?)?;
    while let Some(chunk) = sealer.next_chunk()? {
        sink(chunk);
    }
    sealer.finish().map(|_| ())
}

fn hash(bytes: &[u8]) {
    std::hint::black_box(digest(&SHA256, bytes));
}

fn main() -> Result<(), SealError> {
    let mut block: Vec<u8> = (0..BLOCK as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let plain = block.clone();
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[1; 32]).expect("32 bytes are a key"));
    let mut encrypt = || {
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut block).map(|_| ()).expect("one MiB is not too much");
    };

    // Best of some rounds, in MB (10^6 bytes) a second.
    let mut best = [0.0f64; 4];
    let mut note = |which: usize, start: Duration| {
        best[which] = best[which].max(BYTES as f64 / (processor_time() - start).as_secs_f64() / 1e6);
    };
    let openssl_before = (openssl("sha256"), openssl("aes-256-gcm"));
    for _ in 0..ROUNDS {
        let start = processor_time();
        seal(&plain, |chunk| {
            std::hint::black_box(chunk);
        })?;
        note(0, start);
        let start = processor_time();
        seal(&plain, hash)?;
        note(1, start);
        let start = processor_time();
        (0..BYTES / BLOCK).for_each(|_| hash(&plain));
        note(2, start);
        let start = processor_time();
        (0..BYTES / BLOCK).for_each(|_| encrypt());
        note(3, start);
    }
    let [seal, seal_hash, sha256, aes_256_gcm] = best;
    let of_limit = seal_hash * (2.0 / sha256 + 1.0 / aes_256_gcm);
    // The best of before and after, as it is the best of our rounds.
    let better = |before: Option<f64>, after: Option<f64>| Some(before?.max(after?));
    let openssl_sha256 = better(openssl_before.0, openssl("sha256"));
    let openssl_gcm = better(openssl_before.1, openssl("aes-256-gcm"));
    let (limit, peer) = match (openssl_sha256, openssl_gcm) {
        (Some(sha256), Some(gcm)) => (1.0 / (2.0 / sha256 + 1.0 / gcm), "1/(2/SHA-256 + 1/AES-GCM), openssl speed"),
        _ => (seal_hash / of_limit, "1/(2/SHA-256 + 1/AES-GCM), aws-lc (no openssl here)"),
    };
    let ratio = seal_hash / limit;
    println!(
        "{{\"rows\":[{{\"what\":\"seal + chunk + hash, one core\",\"value\":{seal_hash:.0},\"unit\":\"MB/s\",\
         \"peer\":\"{peer}: {limit:.0} MB/s\",\"ratio\":{ratio:.3},\"goal\":\"≥ 0.7\"}},\
         {{\"what\":\"the same beside the same bound from aws-lc in this run\",\"value\":{seal_hash:.0},\"unit\":\"MB/s\",\
         \"peer\":\"SHA-256 {sha256:.0} MB/s, AES-256-GCM {aes_256_gcm:.0} MB/s\",\"ratio\":{of_limit:.3}}},\
         {{\"what\":\"seal alone, one core\",\"value\":{seal:.0},\"unit\":\"MB/s\"}}]}}"
    );
    Ok(())
}

/// How long this thread has run on a processor.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells every thread its time");
    let nanoseconds = text.split_whitespace().next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.expect("the first number is nanoseconds on the processor"))
}

/// What `openssl speed` says of an algorithm on blocks of 1 MiB, MB a second; `None` where it is not installed.
fn openssl(algorithm: &str) -> Option<f64> {
    let arguments = ["speed", "-mr", "-seconds", "2", "-bytes", "1048576", "-evp", algorithm];
    let output = Command::new("openssl").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().find(|line| line.starts_with("+F:"))?;
    Some(line.rsplit(':').next()?.parse::<f64>().ok()? / 1e6)
}
