//! Publishing, door to door: seal, store, deposit, and make it known.
//!
//! Nothing is paid before the last step. From then on the transaction is in the journal, so that the same command goes
//! on where it was interrupted instead of publishing twice.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use content::{Store, unixfs};
use custody::{AccountKey, ContentKey, Holder, Place, Sealed, Sealer};
use ledger::state::{NodeState, ObjectState, Roster};
use model::{
    Action, Canonical as _, ContentId, Deposit, DepositAck, Description, Digest, Manifest, NodeId, ObjectId,
    ObjectKind, PublishedObject, Signed, StorageAck, Terms, Transaction, api::DepositRequest,
};
use sha2::Digest as _;

use crate::{
    client::{Client, read_state},
    error::ClientError,
    file::{FileError, read_bounded, write_atomically},
    land::Intent,
    listing::NodeView,
    nodes::{Miss, Question, conclude, decode},
    progress::{Progress, Watch},
    terms::TermsDraft,
    transfer::blocking,
};

/// A verdict of a custodian must hold this much longer.
const VERDICT_MARGIN_MS: u64 = 2_000;

/// How long to wait for a network that has just been started.
const VERDICTS_WAIT: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Shares needed, and shares dealt.
const THRESHOLD: u8 = 2;
const HOLDERS: usize = 3;

/// Something to publish.
#[derive(Clone, Debug)]
pub struct Publication {
    /// Data or program.
    pub kind: ObjectKind,
    /// The file to seal.
    pub file: PathBuf,
    /// The first terms.
    pub terms: TermsDraft,
    /// What everybody may know.
    pub description: Option<Description>,
    /// A public dummy.
    pub sample: Option<PathBuf>,
}

/// What was published.
#[derive(Clone, Debug)]
pub struct Published {
    /// Its id.
    pub object: ObjectId,
    /// The terms that hold.
    pub terms: Terms,
    /// Shares needed to open it.
    pub threshold: u8,
    /// Who holds a share each.
    pub custodians: Vec<NodeId>,
    /// How many nodes have acknowledged storing it.
    pub copies: usize,
}

/// The sealed file, its leaf list and its sample as blocks.
struct Prepared {
    sealed: Sealed,
    ciphertext: ContentId,
    leaves: ContentId,
    leaves_bytes: u64,
    sample: Option<(ContentId, u64)>,
    key: ContentKey,
}

impl Client {
    /// Seals a file on this machine and publishes it.
    ///
    /// # Errors
    /// [`ClientError`]. Unless it is [`ClientError::NotFinal`], nothing was paid.
    pub async fn publish(
        &self,
        key: &AccountKey,
        publication: &Publication,
        watch: &dyn Watch,
    ) -> Result<Published, ClientError> {
        self.check_extension().await?;
        self.check_size(publication).await?;
        let journal = self.journal(key, publication)?;
        if let Some(announcement) = journal.read(self)? {
            watch.see(Progress::Step("going on where the last run was interrupted"));
            match self.make_known(key, &journal, announcement).await {
                // What was acknowledged then is too old by now: nothing was paid, and it all begins anew.
                Err(ClientError::Refused { everywhere: true, .. }) => journal.remove(),
                done => return done,
            }
        }
        let (_guard, store) = self.scratch_store()?;
        watch.see(Progress::Step("sealing"));
        let (holders, prepared) = tokio::try_join!(self.choose_custodians(watch), prepare(&store, publication))?;
        let manifest = key.sign(&self.network.id, prepared.manifest(key, publication));
        watch.see(Progress::Step("storing ciphertext"));
        let storage = self.store_content(&store, &prepared).await?;
        watch.see(Progress::Step("giving shares of the key to custodians"));
        let (deposit, deposit_acks) = self.deposit(key, &manifest, &prepared.key, &holders).await?;
        let object = PublishedObject { manifest, deposit, deposit_acks, storage };
        let terms = publication.terms.clone().into_terms(object.manifest.object_id(), key.account(), 1);
        let terms = key.sign(&self.network.id, terms);
        watch.see(Progress::Step("making it known"));
        self.make_known(key, &journal, Announcement { object, terms, journal: journal.clone(), written: None }).await
    }

    /// The ledger publishes no program that no node would run; sealing and uploading it would be for nothing.
    async fn check_size(&self, publication: &Publication) -> Result<(), ClientError> {
        let path = &publication.file;
        let bytes = std::fs::metadata(path).map_err(|cause| FileError::read(path, cause))?.len();
        check_program_size(publication.kind, bytes, self.genesis().await?.limits.program_bytes)
    }

    async fn make_known(
        &self,
        key: &AccountKey,
        journal: &Journal,
        announcement: Announcement,
    ) -> Result<Published, ClientError> {
        let written = announcement.written.clone();
        self.land(key, &announcement, written).await?;
        journal.remove();
        let Announcement { object, terms, .. } = announcement;
        let ciphertext = object.manifest.unverified().ciphertext;
        Ok(Published {
            object: object.manifest.object_id(),
            terms: terms.into_unverified(),
            threshold: object.deposit.unverified().threshold,
            custodians: object.deposit.unverified().custodians.iter().map(|holder| holder.node).collect(),
            copies: object.storage.iter().filter(|ack| ack.unverified().content == ciphertext).count(),
        })
    }

    /// Nodes that can be given a share each: registered, with a fresh verdict whose votes were checked here. A network
    /// that has just been started is waited for.
    async fn choose_custodians(&self, watch: &dyn Watch) -> Result<Vec<NodeView>, ClientError> {
        let genesis = self.genesis().await?;
        let mut nodes = self.candidates(watch).await?;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)
            .map_err(|cause| ClientError::machine("get random numbers")(cause.to_string().into()))?;
        nodes.sort_by_key(|node| Digest::of_parts(&[&seed, &node.id().0]));
        let places: Vec<Place> = nodes.iter().map(place).collect();
        nodes.truncate(HOLDERS);
        let holders: Vec<NodeId> = nodes.iter().map(NodeView::id).collect();
        custody::check_spread(genesis.custody, usize::from(THRESHOLD), &holders, &places)
            .map_err(ClientError::Spread)?;
        Ok(nodes)
    }

    /// Every node that could hold a share, at least as many as are needed.
    async fn candidates(&self, watch: &dyn Watch) -> Result<Vec<NodeView>, ClientError> {
        let end = tokio::time::Instant::now() + VERDICTS_WAIT;
        let mut told = false;
        loop {
            let (_, mut nodes) = self.nodes().await?;
            nodes.retain(|node| node.is_fresh(VERDICT_MARGIN_MS));
            let left_out = self.left_out(&nodes).await?;
            if nodes.len() >= HOLDERS && left_out.is_none() {
                return Ok(nodes);
            }
            if tokio::time::Instant::now() > end {
                return Err(match left_out {
                    Some(node) => ClientError::LeftOut { node },
                    None => ClientError::TooFewCustodians { found: nodes.len(), needed: HOLDERS },
                });
            }
            if left_out.is_some() {
                self.nodes.ask_another_first();
            }
            if !std::mem::replace(&mut told, true) {
                watch.see(Progress::Step("waiting until enough nodes have a verdict"));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// A node that could hold a share and is not among `nodes`. Whoever gives a list can leave out all but its friends, and
    /// so choose who holds the key; the live state leaves out nobody.
    async fn left_out(&self, nodes: &[NodeView]) -> Result<Option<NodeId>, ClientError> {
        let (_, roster) = self.state("the roster of nodes", ledger::key::roster()).await?;
        let roster: Roster = roster.map(|value| read_state(&value)).transpose()?.unwrap_or_default();
        for id in roster.nodes {
            if nodes.iter().any(|node| node.id() == id) {
                continue;
            }
            let (head, value) = self.state("a node", ledger::key::node(&id)).await?;
            let state: Option<NodeState> = value.map(|value| read_state(&value)).transpose()?;
            let could = |state: &NodeState| {
                state.is_fresh(head.time_ms() + VERDICT_MARGIN_MS) && (self.file.simulated || !state.result.simulated)
            };
            if state.as_ref().is_some_and(could) {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    async fn store_content(&self, store: &Store, prepared: &Prepared) -> Result<Vec<Signed<StorageAck>>, ClientError> {
        let parts = [
            ("the ciphertext", prepared.ciphertext, prepared.sealed.ciphertext_bytes),
            ("the list of leaves", prepared.leaves, prepared.leaves_bytes),
        ];
        let mut acks = Vec::new();
        for (what, root, bytes) in parts {
            let node = self.upload(store, &root).await?;
            acks.extend(self.acknowledgements(what, &root, bytes, &node).await?);
        }
        if let Some((root, bytes)) = prepared.sample {
            let node = self.upload(store, &root).await?;
            self.acknowledgements("the sample", &root, bytes, &node).await?;
        }
        acks.sort_by_key(|ack| (ack.unverified().content, ack.unverified().node));
        Ok(acks)
    }

    async fn deposit(
        &self,
        owner: &AccountKey,
        manifest: &Signed<Manifest>,
        key: &ContentKey,
        nodes: &[NodeView],
    ) -> Result<(Signed<Deposit>, Vec<Signed<DepositAck>>), ClientError> {
        let holders: Vec<Holder> = nodes
            .iter()
            .map(|node| Holder { node: node.id(), sealing_key: node.registration.sealing_key.clone() })
            .collect();
        let requests = custody::split_deposit(&self.network.id, owner, manifest, key, 1, THRESHOLD, &holders)
            .map_err(|cause| ClientError::machine("split the key")(cause.into()))?;
        let acks = futures::future::try_join_all(requests.iter().map(|request| self.deposit_one(request))).await?;
        let Some(deposit) = requests.into_iter().next().map(|request| request.deposit) else {
            return Err(ClientError::TooFewCustodians { found: 0, needed: HOLDERS });
        };
        Ok((deposit, acks))
    }

    async fn deposit_one(&self, request: &DepositRequest) -> Result<Signed<DepositAck>, ClientError> {
        let deposit = request.deposit.unverified();
        let custodian = deposit.custodians[usize::from(request.index) - 1].node;
        let expected = DepositAck { deposit: deposit.digest(), index: request.index, custodian };
        let check = |bytes: Vec<u8>| {
            let ack: Signed<DepositAck> = decode(&bytes)?;
            match ack.verify(&self.network.id) {
                Ok(said) if *said == expected => Ok(ack),
                Ok(_) => Err(Miss::Disbelieved("it acknowledged another deposit".to_owned())),
                Err(cause) => Err(Miss::disbelieve(cause)),
            }
        };
        // Only the custodian can open its share; another node would pass it on.
        let own = self.api_of(&custodian).map(str::to_owned);
        let others = self.nodes.order();
        let mut misses = Vec::new();
        for node in own.into_iter().chain(others) {
            match self.nodes.ask_one(&node, Question::post("/v1/deposits", request.to_bytes())).await.and_then(check) {
                Ok(ack) => return Ok(ack),
                Err(miss) => misses.push((node, miss)),
            }
        }
        Err(conclude(&format!("the custodian {custodian}"), misses))
    }

    fn journal(&self, key: &AccountKey, publication: &Publication) -> Result<Journal, ClientError> {
        let name = fingerprint(&self.network.id, key, publication)?;
        let path = self.state_dir.of_network(&self.network.id).join("publishing").join(name.to_string());
        Ok(Journal { path })
    }
}

fn check_program_size(kind: ObjectKind, bytes: u64, sealed_max: u64) -> Result<(), ClientError> {
    let fits = custody::ciphertext_length(bytes).is_some_and(|sealed| sealed <= sealed_max);
    if kind == ObjectKind::Data || fits { Ok(()) } else { Err(ClientError::ProgramSize { bytes, sealed_max }) }
}

/// Where a node stands. The maker of its TPM is not in its registration; until it is read from the evidence, all count as
/// one maker, so that strict networks refuse rather than spread shares badly.
fn place(node: &NodeView) -> Place {
    Place {
        node: node.id(),
        operator: node.registration.operator.clone(),
        vendor: "any maker".to_owned(),
        region: node.registration.region.clone(),
    }
}

impl Prepared {
    fn manifest(&self, key: &AccountKey, publication: &Publication) -> Manifest {
        Manifest {
            kind: publication.kind,
            owner: key.account(),
            ciphertext: self.ciphertext,
            ciphertext_bytes: self.sealed.ciphertext_bytes,
            leaves: self.leaves,
            seal: self.sealed.seal.clone(),
            description: publication.description.clone(),
            sample: self.sample.map(|(root, _)| root),
        }
    }
}

/// Seals the file into blocks on this machine. Its plaintext is only ever in memory, two chunks at a time.
async fn prepare(store: &Store, publication: &Publication) -> Result<Prepared, ClientError> {
    let (store, publication) = (store.clone(), publication.clone());
    let file = File::open(&publication.file).map_err(|cause| FileError::read(&publication.file, cause))?;
    blocking("seal the file", move || {
        let key = ContentKey::generate()?;
        let mut sealer = Sealer::new(file, &key)?;
        let ciphertext = unixfs::import(&store, &mut sealer)?.root;
        let sealed = sealer.finish()?;
        let leaves = unixfs::import(&store, &mut sealed.leaves.as_slice())?;
        let sample = match &publication.sample {
            None => None,
            Some(path) => Some(unixfs::import(&store, &mut File::open(path)?)?),
        };
        Ok(Prepared {
            sealed,
            ciphertext,
            leaves: leaves.root,
            leaves_bytes: leaves.bytes,
            sample: sample.map(|sample| (sample.root, sample.bytes)),
            key,
        })
    })
    .await
}

/// Where the transaction of a publication under way is written down, until it is in effect.
#[derive(Clone, Debug)]
struct Journal {
    path: PathBuf,
}

impl Journal {
    /// What an interrupted run has written down.
    fn read(&self, client: &Client) -> Result<Option<Announcement>, ClientError> {
        if !self.path.exists() {
            return Ok(None);
        }
        let bytes = read_bounded(&self.path, Transaction::BYTES_MAX as u64)?;
        let transaction = Signed::<Transaction>::from_bytes(&bytes, Transaction::BYTES_MAX)
            .map_err(|cause| self.damaged(&cause.to_string()))?;
        let body = transaction.verify(&client.network.id).map_err(|cause| self.damaged(&cause.to_string()))?;
        let Action::Publish { object, terms } = &body.action else {
            return Err(self.damaged("it publishes nothing"));
        };
        let (object, terms) = ((**object).clone(), (**terms).clone());
        Ok(Some(Announcement { object, terms, journal: self.clone(), written: Some(transaction) }))
    }

    fn damaged(&self, reason: &str) -> ClientError {
        FileError::whole(&self.path, format!("not a publication under way ({reason}); remove the file to start over"))
            .into()
    }

    fn remove(&self) {
        // If it stays, the same command merely finds the object published already.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// An object that is ready to be made known.
struct Announcement {
    object: PublishedObject,
    terms: Signed<Terms>,
    journal: Journal,
    written: Option<Signed<Transaction>>,
}

impl Intent for Announcement {
    fn what(&self) -> String {
        "the publication".to_owned()
    }

    fn action(&self, _nonce: u64) -> Action {
        Action::Publish { object: Box::new(self.object.clone()), terms: Box::new(self.terms.clone()) }
    }

    fn effect_key(&self, _: &Signed<Transaction>) -> ledger::Key {
        ledger::key::object(&self.object.manifest.object_id())
    }

    fn in_effect(&self, _: &Signed<Transaction>, value: Option<&[u8]>) -> bool {
        value.is_some_and(|value| read_state::<ObjectState>(value).is_ok())
    }

    fn write_down(&self, transaction: &Signed<Transaction>) -> Result<(), ClientError> {
        Ok(write_atomically(&self.journal.path, &transaction.to_bytes())?)
    }
}

/// What makes two publications the same: network, account, kind, contents, terms and description.
fn fingerprint(network: &model::NetworkId, key: &AccountKey, publication: &Publication) -> Result<Digest, FileError> {
    let file = hash_file(&publication.file)?;
    let sample = publication.sample.as_deref().map(hash_file).transpose()?;
    let kind = publication.kind.to_string();
    let terms = format!("{:?}", publication.terms);
    let description = publication.description.as_ref().map(|description| description.to_bytes());
    Ok(Digest::of_parts(&[
        &network.0,
        &key.account().0,
        kind.as_bytes(),
        &file.0,
        sample.as_ref().map_or(&[], |digest| &digest.0),
        terms.as_bytes(),
        description.as_deref().unwrap_or_default(),
    ]))
}

fn hash_file(path: &Path) -> Result<Digest, FileError> {
    let read = |cause| FileError::read(path, cause);
    let mut file = File::open(path).map_err(read)?;
    let mut hash = sha2::Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let filled = file.read(&mut buffer).map_err(read)?;
        if filled == 0 {
            return Ok(Digest(hash.finalize().into()));
        }
        hash.update(&buffer[..filled]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_no_node_would_run_is_not_sealed() {
        const MAX: u64 = 80 << 20;
        let refused = |kind, bytes| {
            matches!(check_program_size(kind, bytes, MAX), Err(ClientError::ProgramSize { sealed_max: MAX, .. }))
        };
        assert!(!refused(ObjectKind::Program, 70 << 20));
        // It is the ciphertext that counts: padding and tags make this one too long.
        assert!(refused(ObjectKind::Program, MAX));
        assert!(refused(ObjectKind::Program, u64::MAX));
        assert!(!refused(ObjectKind::Data, 30 << 30));
    }
}
