//! Every decoder of foreign bytes survives damaged input: an error, never a panic, and nothing damaged passes.

use attest::{
    Endorsement, SealedSecret, appraise,
    protocol::{Message, Presentation},
    release::{ReleaseFile, ReleasePublicKey},
};
use model::{Blob, Canonical, EventLog, Evidence};

use crate::fixture::{Node, binary, expectation, fixture, now_ms};

/// A small deterministic generator (xorshift64*), so that a failure can be repeated.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below.max(1)
    }

    /// Flips, cuts, repeats or overwrites a little.
    pub(crate) fn damage(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.roll(3) {
            let at = self.roll(bytes.len());
            match self.roll(5) {
                0 => bytes.truncate(at),
                1 => bytes.splice(at..at, [self.roll(256) as u8; 3]).for_each(drop),
                2 => bytes.extend_from_slice(&[0xff; 2]),
                3 if !bytes.is_empty() => bytes[at] = [0, 0xff, 0x7f, 0x80][self.roll(4)],
                _ if !bytes.is_empty() => bytes[at] ^= 1 << self.roll(8),
                _ => {}
            }
        }
        bytes
    }
}

#[test]
fn damaged_messages_are_refused_or_are_other_messages() {
    let mut node = Node::start(0);
    let presented = Presentation { evidence: node.evidence(), log: node.log.clone() };
    let message = Message::Evidence(Box::new(presented)).encode();
    let mut dice = Dice(1);
    for _ in 0..20_000 {
        let damaged = dice.damage(&message);
        if let Ok(decoded) = Message::decode(&damaged) {
            assert_eq!(decoded.encode(), damaged, "canonical");
        }
    }
    assert!(Message::decode(&vec![0; Message::BYTES_MAX + 1]).is_err());
}

#[test]
fn damaged_structures_inside_evidence_never_pass() {
    let mut node = Node::start(0);
    let honest = node.evidence();
    let expectation = expectation(0);
    let mut dice = Dice(2);
    let parts: [fn(&mut Evidence) -> &mut Blob; 4] = [
        |evidence| &mut evidence.tpm.quote,
        |evidence| &mut evidence.tpm.signature,
        |evidence| &mut evidence.tpm.attestation_key,
        |evidence| &mut evidence.tpm.endorsement_chain[0],
    ];
    for round in 0..2_000 {
        let mut evidence = honest.clone();
        let part = parts[round % parts.len()](&mut evidence);
        let damaged = dice.damage(&part.0);
        if damaged == part.0 {
            continue;
        }
        part.0 = damaged;
        assert!(appraise(&evidence, &node.log, &expectation).is_err(), "round {round}");
    }
}

#[test]
fn damaged_certificates_endorse_nothing_and_give_no_key() {
    let node = Node::start(0);
    let chain = node.attester.endorsement_chain().to_vec();
    let about = model::ContentId::of_dag_cbor(b"");
    let mut dice = Dice(3);
    for round in 0..1_000 {
        let mut damaged = chain.clone();
        let at = dice.roll(2);
        damaged[at].0 = dice.damage(&chain[at].0);
        if damaged != chain {
            let outcome = Endorsement::check(&damaged, &fixture().genesis.trust_anchors, now_ms());
            assert!(outcome.is_err(), "round {round}");
        }
        // Whatever comes of it, it does not panic.
        let _ = attest::Challenge::make(&damaged[0].0, &[0; 34], about, &[1; 32]);
    }
}

#[test]
fn damaged_files_are_refused() {
    let release = fixture().release_key.release(binary(), 2);
    let log =
        EventLog { entries: vec![model::LogEntry { binary: binary(), release: Some(release.statement.clone()) }; 3] };
    let (release, log) = (release.to_bytes(), log.to_bytes());
    let mut dice = Dice(4);
    for _ in 0..5_000 {
        let damaged = dice.damage(&release);
        if let Ok(file) = ReleaseFile::from_bytes(&damaged, ReleaseFile::BYTES_MAX) {
            assert_eq!(file.to_bytes(), damaged);
        }
        let damaged = dice.damage(&log);
        if let Ok(file) = EventLog::from_bytes(&damaged, attest::launcher::LOG_BYTES_MAX) {
            assert_eq!(file.to_bytes(), damaged);
        }
        let _ = SealedSecret::decode(&damaged);
        let _ = ReleasePublicKey::from_bytes(&damaged[..damaged.len().min(65)]);
    }
}
