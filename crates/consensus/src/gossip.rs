//! What validators tell each other besides consensus: transactions that wait, and bodies of state values.
//!
//! Messages to peers that are not connected are lost, so transactions submitted here are sent again every second until
//! they are final, and bodies are asked for until they come. Every node executes every block and so has every body;
//! asking matters once a node can join from a state it did not execute (state sync), which is left for later.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use commonware_cryptography::ed25519;
use commonware_macros::select;
use commonware_p2p::{Receiver, Recipients, Sender};
use commonware_runtime::Clock;
use model::Digest;

use crate::{block::TRANSACTION_BYTES_MAX, core::Core};

/// Most bytes of one message.
pub(crate) const MESSAGE_BYTES_MAX: usize = 512 << 10;
/// How often what had no effect is sent again.
const AGAIN: Duration = Duration::from_secs(1);
/// After sending, transactions are collected for so long and sent together, so that a burst does not use up the quota.
const COLLECT: Duration = Duration::from_millis(10);
/// Most bodies asked for at a time.
const WANTED_MAX: usize = 64;

const TRANSACTIONS: u8 = 0;
const WANT: u8 = 1;
const BODY: u8 = 2;

/// Sends and receives until the network goes away.
pub(crate) async fn run<E, S, R>(clock: E, core: Arc<Core>, mut sender: S, mut receiver: R)
where
    E: Clock,
    S: Sender<PublicKey = ed25519::PublicKey>,
    R: Receiver<PublicKey = ed25519::PublicKey>,
{
    let mut again = clock.current() + AGAIN;
    let mut sent = clock.current();
    // When what was submitted is sent: at once, unless something was sent a moment ago.
    let mut send_at: Option<SystemTime> = None;
    loop {
        let wake = send_at.map_or(again, |at| at.min(again));
        select! {
            message = receiver.recv() => {
                let Ok((peer, message)) = message else { return };
                let message: Bytes = message.into();
                if let Some(answer) = handle(&core, &message) {
                    sender.send(Recipients::One(peer), answer, false);
                }
            },
            _ = core.pool.outgoing.notified() => send_at = Some(sent + COLLECT),
            _ = core.wanted.asked.notified() => ask(&core, &mut sender),
            _ = clock.sleep_until(wake) => {
                let now = clock.current();
                if send_at.is_some_and(|at| at <= now) {
                    (send_at, sent) = (None, now);
                    send_all(|| core.pool.unsent(MESSAGE_BYTES_MAX / 2), &mut sender);
                }
                if again <= now {
                    again = now + AGAIN;
                    let mut overdue = Some(core.pool.overdue(MESSAGE_BYTES_MAX / 2));
                    send_all(|| overdue.take().unwrap_or_default(), &mut sender);
                    ask(&core, &mut sender);
                }
            },
        }
    }
}

/// Sends transactions to all peers until there are none left.
fn send_all<S: Sender<PublicKey = ed25519::PublicKey>>(mut next: impl FnMut() -> Vec<Vec<u8>>, sender: &mut S) {
    loop {
        let transactions = next();
        if transactions.is_empty() {
            return;
        }
        sender.send(Recipients::All, transactions_message(&transactions), false);
    }
}

fn ask<S: Sender<PublicKey = ed25519::PublicKey>>(core: &Core, sender: &mut S) {
    for digest in core.wanted.list(WANTED_MAX) {
        sender.send(Recipients::All, Bytes::from([&[WANT][..], &digest.0].concat()), false);
    }
}

/// Takes a message in; returns what to answer. Malformed messages are dropped: they can only hurt who sent them.
fn handle(core: &Core, message: &[u8]) -> Option<Bytes> {
    let (kind, rest) = message.split_first()?;
    match *kind {
        TRANSACTIONS => {
            let mut rest = rest;
            while let Some((transaction, after)) = take_part(rest) {
                core.pool.receive(transaction.to_vec());
                rest = after;
            }
            None
        }
        WANT => {
            let body = core.local_body(&Digest::from_slice(rest)?).ok()??;
            let fits = body.len() < MESSAGE_BYTES_MAX;
            fits.then(|| Bytes::from([&[BODY][..], &body].concat()))
        }
        BODY => {
            core.wanted.receive(rest.to_vec());
            None
        }
        _ => None,
    }
}

fn transactions_message(transactions: &[Vec<u8>]) -> Bytes {
    let mut message = vec![TRANSACTIONS];
    for transaction in transactions {
        message.extend_from_slice(&(transaction.len() as u32).to_be_bytes());
        message.extend_from_slice(transaction);
    }
    Bytes::from(message)
}

fn take_part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = u32::from_be_bytes(*length) as usize;
    (length <= TRANSACTION_BYTES_MAX).then(|| rest.split_at_checked(length)).flatten()
}
