//! What a network, or one proof, rests on. Whoever reads a result should read this beside it.

use model::{CustodyMode, Genesis};
use proof::Verified;

use crate::{client::Client, error::ClientError};

/// What weakens what is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// TPMs are software, or may be.
    pub simulated: bool,
    /// Nothing beneath the launchers of nodes was measured.
    pub self_measured: bool,
    /// How keys are held.
    pub custody: CustodyMode,
    /// The same and more, in sentences.
    pub warnings: Vec<String>,
}

impl Trust {
    /// What a verified proof rests on.
    pub fn of(verified: &Verified) -> Self {
        Self {
            simulated: verified.simulated(),
            self_measured: verified.self_measured(),
            custody: verified.genesis().custody,
            warnings: verified.checklist().warnings,
        }
    }

    /// What everything on a network rests on, whatever its network file says.
    fn of_network(genesis: &Genesis) -> Self {
        let (simulated, custody) = (genesis.trust_anchors.simulated(), genesis.custody);
        let mut warnings = Vec::new();
        if simulated {
            warnings.push("simulated: TPMs of this network may be software; this shows how things work".to_owned());
        }
        // Version 1 of evidence knows no measured boot (docs/spec/evidence.md).
        warnings.push("self-measured: nothing beneath the launchers of its nodes was measured".to_owned());
        if custody == CustodyMode::Development {
            warnings.push("custody: development: one operator may hold enough shares to open the objects".to_owned());
        }
        Self { simulated, self_measured: true, custody, warnings }
    }
}

impl Client {
    /// What everything on this network rests on: from its genesis, which was checked.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn trust(&self) -> Result<Trust, ClientError> {
        Ok(Trust::of_network(self.genesis().await?))
    }
}
