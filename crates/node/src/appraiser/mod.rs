//! Attestation of nodes by nodes. As subject, this node gets a verdict and renews it at half of its life; as appraiser, it
//! answers those it was drawn for; as custodian, it judges the evidence behind a verdict again, for itself
//! ([`Reappraiser`]). The rules and both machines are in `attest`; here messages travel, the TPM works and votes are signed.

mod reappraise;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use attest::{
    Attester, AttesterError, Challenge, Request,
    protocol::{
        Appraiser, AppraiserAction, Facts, Held, Message, Needs, Presentation, Subject, SubjectAction, Subjects,
    },
    tpm::Tpm,
};
use content::Block;
use custody::NodeIdentity;
use futures::{StreamExt, stream::FuturesUnordered};
use model::{Blob, BlockRef, Bytes32, Canonical, ContentId, EventLog, Evidence, NodeId, Registration, Role};

pub(crate) use self::reappraise::{NotAppraised, Reappraiser};
use crate::{
    account::{Account, Declined},
    chain::{Chain, ChainError},
    handles::Handles,
    index::Index,
    metrics::Metrics,
    peers::{NoAnswer, Peers, Reply},
    storage::Content,
};

/// Pause after a round that brought no verdict.
const PAUSE: Duration = Duration::from_millis(500);

/// This node's part in attestation.
pub(crate) struct Appraising {
    chain: Chain,
    index: Arc<Index>,
    content: Content,
    peers: Peers,
    account: Account,
    identity: Arc<NodeIdentity>,
    metrics: Arc<Metrics>,
    registration: Registration,
    log: EventLog,
    /// A TPM does one thing at a time, and slowly: only blocking threads take this lock.
    attester: Arc<Mutex<Attester>>,
    appraiser: Mutex<Appraiser>,
    subjects: Mutex<Subjects>,
}

/// Why this node cannot be appraised at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttestationError {
    /// The TPM.
    #[error(transparent)]
    Attester(#[from] AttesterError),
    /// The committee has not approved this node.
    #[error("{0} is no validator of this network")]
    NotApproved(NodeId),
}

/// Why a round brought no verdict.
#[derive(Debug, thiserror::Error)]
enum NoVerdict {
    #[error("the TPM gives no evidence")]
    Attester(#[from] AttesterError),
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error("the evidence cannot be stored")]
    Store(#[from] content::StoreError),
    #[error("the evidence is too large")]
    Block(#[from] content::BlockError),
    #[error(transparent)]
    Declined(#[from] Declined),
    #[error("nobody is drawn for this window yet")]
    NobodyDrawn,
    #[error("too few votes: {0}")]
    TooFewVotes(String),
}

/// Nobody answers where the TPM was.
struct TpmIsGone;

impl Appraising {
    /// Takes the TPM into service.
    pub(crate) async fn new(handles: Handles, account: Account, tpm: TpmParts) -> Result<Self, AttestationError> {
        let Handles { chain, index, content, peers, identity, metrics, .. } = handles;
        let genesis = chain.genesis().clone();
        let me = identity.node_id();
        let approved = genesis.validator(&me).ok_or(AttestationError::NotApproved(me))?;
        let TpmParts { tpm, log, intermediates } = tpm;
        let attester = crate::blocking(move || Attester::open(tpm, intermediates)).await?;
        let (operator, region) = (approved.operator.clone(), approved.region.clone());
        let committee: Vec<_> = genesis.validators.iter().map(|validator| validator.node).collect();
        let registration = attester.registration(me, identity.sealing_public(), operator, region);
        Ok(Self {
            appraiser: Mutex::new(Appraiser::new(genesis, me)),
            subjects: Mutex::new(Subjects::new(*chain.network_id(), committee)),
            attester: Arc::new(Mutex::new(attester)),
            chain,
            index,
            content,
            peers,
            account,
            identity,
            metrics,
            registration,
            log,
        })
    }

    // --- subject ----------------------------------------------------------------------------------------------------

    /// Gets a verdict and renews it, until the node stops, or its TPM is gone: the node must not go on then, for only a new start
    /// brings both back.
    pub(crate) async fn keep_verdict(self: Arc<Self>) {
        let mut blocks = self.index.watch();
        blocks.borrow_and_update();
        // Only a block that is finalized while this node runs says which window it is now.
        while blocks.changed().await.is_ok() {
            blocks.borrow_and_update();
            if !self.index.is_behind()
                && let Some(window) = self.window_due()
                && let Err(TpmIsGone) = self.try_round(window).await
            {
                return;
            }
        }
    }

    async fn try_round(&self, window: u64) -> Result<(), TpmIsGone> {
        match self.round(window).await {
            Ok(height) => {
                self.metrics.verdicts.inc();
                tracing::info!(window, height, "verdict obtained");
            }
            // The window's first block has no seed yet; the next one has.
            Err(NoVerdict::NobodyDrawn) => {}
            Err(NoVerdict::Attester(cause)) if cause.is_gone() => {
                tracing::error!(error = %crate::chain_of(&cause), "the TPM is gone");
                return Err(TpmIsGone);
            }
            Err(cause) => {
                tracing::warn!(window, error = %crate::chain_of(&cause), "no verdict yet");
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    /// The window to be appraised in now, if it is time.
    fn window_due(&self) -> Option<u64> {
        // First, so that the verdict is not older than it.
        let tip = self.index.tip();
        let verdict = self.index.places().node(&self.registration.node).and_then(|node| node.verdict);
        let held = verdict.map(|verdict| Held {
            window: verdict.window,
            from_ms: verdict.from_ms,
            expires_ms: verdict.expires_ms,
        });
        attest::protocol::window_due(&self.chain.genesis().appraisal, held, tip.time_ms)
    }

    /// One round: evidence, votes of those drawn, transaction. Returns the height of the block with the verdict.
    async fn round(&self, window: u64) -> Result<u64, NoVerdict> {
        let drawn = self.drawn(&self.registration.node, window).await?;
        if drawn.is_empty() {
            return Err(NoVerdict::NobodyDrawn);
        }
        let presentation = self.presentation(window).await?;
        let block = presentation.evidence.block;
        self.keep(&presentation)?;
        self.subjects().begin(presentation, drawn);
        let attestation = tokio::select! {
            attestation = self.votes() => attestation?,
            () = self.evidence_over(window, block) => return Err(NoVerdict::TooFewVotes(self.refusals())),
        };
        Ok(self.account.send(model::Action::Attest(attestation)).await?)
    }

    /// Returns when nobody will vote any more on evidence made in `window` at `block`.
    async fn evidence_over(&self, window: u64, block: BlockRef) {
        let policy = &self.chain.genesis().appraisal;
        let mut blocks = self.index.watch();
        // An error means that the node is stopping.
        let _ = blocks.wait_for(|tip| !attest::protocol::is_voted_on(policy, window, &block, tip.time_ms)).await;
    }

    /// A quote for this window and the newest block.
    async fn presentation(&self, window: u64) -> Result<Presentation, NoVerdict> {
        let block = self.chain.consensus().tip().block_ref();
        let request = Request { role: Role::Executor, window, block };
        let (network, registration, log) = (*self.chain.network_id(), self.registration.clone(), self.log.clone());
        let pcrs = self.chain.genesis().appraisal.pcrs.clone();
        let attester = self.attester.clone();
        let quote = move || lock(&attester).evidence(&network, &registration, request, &pcrs, &log);
        let evidence = crate::blocking(quote).await?;
        Ok(Presentation { evidence, log: self.log.clone() })
    }

    /// Keeps evidence and log as blocks, for whoever wants to judge them again.
    fn keep(&self, presentation: &Presentation) -> Result<(), NoVerdict> {
        let evidence = Block::dag_cbor(presentation.evidence.to_bytes())?;
        let log = Block::dag_cbor(presentation.log.to_bytes())?;
        Ok(self.content.store().put_batch(&[evidence, log])?)
    }

    /// Talks to everybody drawn until there are enough votes.
    async fn votes(&self) -> Result<Box<model::Attestation>, NoVerdict> {
        let mut conversations = FuturesUnordered::new();
        let mut tick = tokio::time::interval(PAUSE);
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    let now_ms = crate::progress::unix_ms();
                    let actions = self.subjects().tick(now_ms);
                    conversations.extend(actions.into_iter().map(|action| self.converse(action)));
                }
                Some(submit) = conversations.next() => {
                    if let Some(attestation) = submit {
                        return Ok(attestation);
                    }
                }
            }
        }
    }

    /// One conversation with one appraiser. The attestation, if its vote was the one that sufficed.
    async fn converse(&self, opening: SubjectAction) -> Option<Box<model::Attestation>> {
        let mut next = Some(opening);
        while let Some(action) = next.take() {
            next = match action {
                SubjectAction::Submit(attestation) => return Some(attestation),
                SubjectAction::Activate { from, challenge } => self.activate(from, challenge).await,
                SubjectAction::Send { to, message } => match self.say(to, &message).await {
                    Ok(answer) => self.hear(to, &answer),
                    Err(cause) => {
                        tracing::info!(appraiser = %to, error = %crate::chain_of(&cause), "appraiser does not answer");
                        None
                    }
                },
            };
        }
        None
    }

    async fn say(&self, to: NodeId, message: &Message) -> Result<Message, NoAnswer> {
        let answer = self.peers.appraisal(to, message.encode()).await?;
        Message::decode(&answer).map_err(|cause| NoAnswer::Undecodable(to, cause.into()))
    }

    fn hear(&self, from: NodeId, message: &Message) -> Option<SubjectAction> {
        self.subjects().handle(from, message)
    }

    /// Lets the TPM answer a challenge.
    async fn activate(&self, from: NodeId, challenge: Challenge) -> Option<SubjectAction> {
        let (attester, evidence) = (self.attester.clone(), challenge.evidence);
        let secret: Result<Bytes32, _> = crate::blocking(move || lock(&attester).activate(&challenge)).await;
        match secret {
            Ok(secret) => self.subjects().activated(from, &evidence, secret),
            Err(cause) => {
                tracing::warn!(challenger = %from, error = %crate::chain_of(&cause), "the TPM refuses a challenge");
                None
            }
        }
    }

    /// What the present verdict rests on, if it is this: the node may have been killed before it saw its own verdict.
    fn behind_verdict(&self, evidence: &ContentId) -> Option<Presentation> {
        let place = self.index.places().node(&self.registration.node)?.verdict?;
        let model::Fact::Verdict(verdict) = self.chain.record(place.index).ok()?.fact else { return None };
        if verdict.evidence == *evidence { self.presented(evidence) } else { None }
    }

    fn presented(&self, evidence: &ContentId) -> Option<Presentation> {
        let store = self.content.store();
        let block = store.get(evidence).ok()??;
        let evidence = Evidence::from_bytes(block.data(), Evidence::BYTES_MAX).ok()?;
        let block = store.get(&evidence.tpm.log).ok()??;
        let log = EventLog::from_bytes(block.data(), attest::launcher::LOG_BYTES_MAX).ok()?;
        Some(Presentation { evidence, log })
    }

    fn refusals(&self) -> String {
        let subjects = self.subjects();
        let refusals = subjects.round().into_iter().flat_map(Subject::refusals);
        let text: Vec<String> = refusals.map(|(node, reason)| format!("{node}: {reason}")).collect();
        if text.is_empty() { "nobody answered".into() } else { text.join("; ") }
    }

    // --- appraiser --------------------------------------------------------------------------------------------------

    /// Answers a message of the appraisal protocol, as appraiser or as subject.
    pub(crate) async fn answer(&self, from: NodeId, message: &[u8]) -> Reply {
        let message = match Message::decode(message) {
            Ok(message) => message,
            Err(cause) => return Reply::Refused(cause.to_string()),
        };
        let answer = match message {
            Message::Challenge(challenge) => self.answer_challenge(from, challenge).await,
            Message::Evidence(_) | Message::Answer(_) => self.appraise(from, message).await,
            Message::Vote(_) | Message::Refusal(_) => None,
        };
        match answer {
            Some(answer) => Reply::Appraisal(answer.encode().into()),
            None => Reply::Refused("there is no answer to that".into()),
        }
    }

    async fn answer_challenge(&self, from: NodeId, challenge: Challenge) -> Option<Message> {
        let evidence = challenge.evidence;
        if self.subjects().misses(&evidence)
            && let Some(presentation) = self.behind_verdict(&evidence)
        {
            self.subjects().take_up(presentation);
        }
        let message = Message::Challenge(challenge);
        let Some(SubjectAction::Activate { from, challenge }) = self.hear(from, &message) else { return None };
        match self.activate(from, challenge).await {
            Some(SubjectAction::Send { message, .. }) => Some(message),
            _ => None,
        }
    }

    async fn appraise(&self, from: NodeId, message: Message) -> Option<Message> {
        let facts = self.facts(message.needs()).await;
        let presented = match &message {
            Message::Evidence(presented) => Some(presented.clone()),
            _ => None,
        };
        let mut entropy = [0; 32];
        getrandom::fill(&mut entropy).ok()?;
        let now_ms = self.index.tip().time_ms;
        let action = {
            let mut appraiser = self.appraiser.lock().unwrap_or_else(PoisonError::into_inner);
            appraiser.handle(now_ms, from, message, &facts, &entropy).pop()?
        };
        match action {
            AppraiserAction::Send { message, .. } => {
                if let (Message::Challenge(_), Some(presented)) = (&message, presented)
                    && let Err(cause) = self.keep(&presented)
                {
                    tracing::warn!(error = %crate::chain_of(&cause), "evidence not kept");
                }
                if let Message::Refusal(refusal) = &message {
                    tracing::warn!(subject = %from, reason = %refusal.reason, "evidence refused");
                }
                Some(message)
            }
            AppraiserAction::Vote(vote) => {
                self.metrics.votes.inc();
                Some(Message::Vote(Box::new(self.identity.sign(self.chain.network_id(), vote))))
            }
        }
    }

    /// What the ledger says about a message.
    async fn facts(&self, needs: Option<Needs>) -> Facts {
        let Some(Needs { subject, window, height }) = needs else { return Facts::default() };
        // The subject may have read its block a moment earlier.
        self.index.until_height(height).await;
        Facts {
            block: self.chain.block_at(height).await.ok(),
            drawn: self.drawn(&subject, window).await.unwrap_or_default(),
        }
    }

    /// The appraisers drawn for a node in a window; nobody while the window has no seed.
    async fn drawn(&self, subject: &NodeId, window: u64) -> Result<Vec<NodeId>, ChainError> {
        self.chain.drawn(subject, window).await
    }

    fn subjects(&self) -> MutexGuard<'_, Subjects> {
        lock(&self.subjects)
    }
}

/// What the measured process has of its TPM.
pub(crate) struct TpmParts {
    pub(crate) tpm: Tpm,
    pub(crate) log: EventLog,
    /// Certificates between the endorsement certificate and the root.
    pub(crate) intermediates: Vec<Blob>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
