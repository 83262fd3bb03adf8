//! The executor's side of a release: one ephemeral key for a task, shares in, content keys out.
//!
//! Custodians are not believed. A share that does not open or does not match its commitment is dropped, and its sender is
//! named; t good shares are enough.

use std::collections::BTreeMap;

use finality::Finalized;
use model::{
    Assignment, Blob, Bytes32, Deposit, Digest, NetworkId, NodeId, ObjectId, PublishedObject, Release, ReleaseRequest,
    Seal, Signed, Task,
};

use crate::{
    ContentKey, NoRandomness, NodeIdentity, OpenError, SealingKey, Share,
    custodian::release_info,
    share::combine,
    wire::{Hello, ReleasedShare},
};

/// Why the content keys of a task are not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectError {
    /// Custodians are silent, refuse, or lie.
    #[error("{shares} of {threshold} needed shares for the key of {object}")]
    TooFewShares {
        /// Whose key.
        object: ObjectId,
        /// Good shares so far.
        shares: usize,
        /// Needed.
        threshold: usize,
    },
    /// The owner's fault: it committed to shares of another key.
    #[error("the shares of {object} match their commitments, but the key they give is not the object's")]
    WrongKey {
        /// Whose key.
        object: ObjectId,
        /// What is wrong with the key.
        #[source]
        cause: OpenError,
    },
    /// The caller's fault.
    #[error("the facts about this task do not fit together: {0}")]
    Facts(&'static str),
    /// This machine's fault.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// What is wrong with a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// It came from somebody who holds no such share.
    #[error("it holds no such share")]
    NotAHolder,
    /// The release is not signed by the custodian, or says something else than was asked.
    #[error("its release is not signed, or is for something else than was asked")]
    Release,
    /// It was sealed to another key or for something else.
    #[error("the share does not open")]
    DoesNotOpen,
    /// It is not the share that was deposited.
    #[error("the share is not the one that was deposited")]
    WrongShare,
}

/// A custodian that sent something wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Liar {
    /// Who.
    pub custodian: NodeId,
    /// About which object's key; `None` if about none of the task.
    pub object: Option<ObjectId>,
    /// What was wrong.
    pub fault: Fault,
}

/// The keys of a task's objects, and the releases that a receipt must carry.
#[derive(Debug)]
pub struct ReleasedKeys {
    keys: BTreeMap<ObjectId, ContentKey>,
    /// At least t for each object, ascending by (position of the object in the task, index).
    pub releases: Vec<Signed<Release>>,
}

impl ReleasedKeys {
    /// The key of one object.
    pub fn key(&self, object: &ObjectId) -> Option<&ContentKey> {
        self.keys.get(object)
    }
}

/// Collects the shares for one attempt at one task.
pub struct ReleaseCollector {
    network: NetworkId,
    hello: Hello,
    assignment: Digest,
    ephemeral: SealingKey,
    objects: Vec<Collected>,
    liars: Vec<Liar>,
}

/// One object's key in the making.
struct Collected {
    object: ObjectId,
    deposit: Deposit,
    seal: Seal,
    terms: Digest,
    shares: BTreeMap<u8, (Share, Signed<Release>)>,
}

impl ReleaseCollector {
    /// Begins to collect for `assignment`. `objects` are the published objects of the task, each at least once. Makes the
    /// ephemeral key from the operating system's randomness; it never leaves this collector.
    ///
    /// # Errors
    /// [`CollectError::Facts`], [`CollectError::NoRandomness`].
    pub fn new(
        network: NetworkId,
        task: &Finalized<Task>,
        assignment: &Finalized<Assignment>,
        objects: &[Finalized<PublishedObject>],
    ) -> Result<Self, CollectError> {
        let (task, assigned) = (task.get(), assignment.get());
        if assigned.task != task.id() {
            return Err(CollectError::Facts("the assignment is of another task"));
        }
        let mut collected = Vec::<Collected>::new();
        for id in task.objects() {
            if !collected.iter().any(|known| known.object == id) {
                collected.push(Collected::new(id, assigned, objects)?);
            }
        }
        Ok(Self {
            network,
            hello: Hello { task: assigned.task, attempt: assigned.attempt, executor: assigned.executor },
            assignment: assignment.digest(),
            ephemeral: SealingKey::generate()?,
            objects: collected,
            liars: Vec::new(),
        })
    }

    /// What to say to a custodian first.
    pub fn hello(&self) -> Hello {
        self.hello
    }

    /// The public half of the ephemeral key.
    pub fn ephemeral_key(&self) -> Blob {
        self.ephemeral.public()
    }

    /// Everybody who holds a share that is still missing, those with most of them first.
    pub fn custodians(&self) -> Vec<NodeId> {
        let mut missing = BTreeMap::<NodeId, usize>::new();
        for object in self.objects.iter().filter(|object| !object.is_complete()) {
            for (position, holder) in object.deposit.custodians.iter().enumerate() {
                if !object.shares.contains_key(&index_of(position)) {
                    *missing.entry(holder.node).or_default() += 1;
                }
            }
        }
        let mut custodians: Vec<_> = missing.into_iter().collect();
        custodians.sort_by_key(|(node, count)| (std::cmp::Reverse(*count), *node));
        custodians.into_iter().map(|(node, _)| node).collect()
    }

    /// The signed request for one custodian, with the nonce it gave (R8).
    pub fn request(&self, identity: &NodeIdentity, custodian: NodeId, nonce: Bytes32) -> Signed<ReleaseRequest> {
        let request = ReleaseRequest {
            task: self.hello.task,
            attempt: self.hello.attempt,
            assignment: self.assignment,
            executor: self.hello.executor,
            custodian,
            ephemeral_key: self.ephemeral_key(),
            nonce,
        };
        identity.sign(&self.network, request)
    }

    /// Takes what a custodian released. Returns how many of the shares were good; [`Self::liars`] tells about the others.
    pub fn accept(&mut self, from: NodeId, released: Vec<ReleasedShare>) -> usize {
        let mut good = 0;
        // An honest custodian sends one share for each object at most.
        for share in released.into_iter().take(self.objects.len()) {
            match self.accept_one(from, &share) {
                Ok(()) => good += 1,
                Err((object, fault)) => self.liars.push(Liar { custodian: from, object, fault }),
            }
        }
        good
    }

    fn accept_one(&mut self, from: NodeId, released: &ReleasedShare) -> Result<(), (Option<ObjectId>, Fault)> {
        let release = released.release.unverified();
        let key_digest = self.ephemeral.public_digest();
        let object = self.objects.iter_mut().find(|object| object.object == release.object);
        let object = object.ok_or((None, Fault::Release))?;
        let id = Some(object.object);
        let holder = usize::from(release.index).checked_sub(1).and_then(|at| object.deposit.custodians.get(at));
        let holder = holder.filter(|holder| holder.node == from).ok_or((id, Fault::NotAHolder))?;
        let as_asked = release.task == self.hello.task
            && release.attempt == self.hello.attempt
            && release.executor == self.hello.executor
            && release.custodian == from
            && release.epoch == object.deposit.epoch
            && release.ephemeral_key == key_digest
            && release.terms == object.terms;
        if !as_asked || released.release.verify(&self.network).is_err() {
            return Err((id, Fault::Release));
        }
        let info = release_info(&self.network, release);
        let bytes = self.ephemeral.open(&info, &released.sealed_share.0).map_err(|_| (id, Fault::DoesNotOpen))?;
        let share = Share::new(release.index, &bytes).ok_or((id, Fault::WrongShare))?;
        if !share.matches(&self.network, &object.deposit, &holder.commitment) {
            return Err((id, Fault::WrongShare));
        }
        object.shares.insert(release.index, (share, released.release.clone()));
        Ok(())
    }

    /// Whether there are enough shares for every key.
    pub fn is_complete(&self) -> bool {
        self.objects.iter().all(Collected::is_complete)
    }

    /// Everybody who sent something wrong so far.
    pub fn liars(&self) -> &[Liar] {
        &self.liars
    }

    /// The keys. The ephemeral key and all shares are wiped.
    ///
    /// # Errors
    /// [`CollectError::TooFewShares`], [`CollectError::WrongKey`].
    pub fn finish(self) -> Result<ReleasedKeys, CollectError> {
        let mut keys = BTreeMap::new();
        let mut releases = Vec::new();
        for object in self.objects {
            keys.insert(object.object, object.key()?);
            releases.extend(object.shares.into_values().map(|(_, release)| release));
        }
        Ok(ReleasedKeys { keys, releases })
    }
}

impl std::fmt::Debug for ReleaseCollector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counts: Vec<_> = self.objects.iter().map(|object| object.shares.len()).collect();
        write!(f, "ReleaseCollector({}, shares {counts:?})", self.hello.task)
    }
}

impl Collected {
    fn new(
        object: ObjectId,
        assignment: &Assignment,
        objects: &[Finalized<PublishedObject>],
    ) -> Result<Self, CollectError> {
        let published = objects.iter().map(Finalized::get).find(|published| published.manifest.object_id() == object);
        let published = published.ok_or(CollectError::Facts("an object of the task is missing"))?;
        let applied = assignment.terms.iter().find(|applied| applied.object == object);
        let applied = applied.ok_or(CollectError::Facts("the assignment applies no terms for one object"))?;
        Ok(Self {
            object,
            deposit: published.deposit.unverified().clone(),
            seal: published.manifest.unverified().seal.clone(),
            terms: applied.digest,
            shares: BTreeMap::new(),
        })
    }

    fn is_complete(&self) -> bool {
        self.shares.len() >= usize::from(self.deposit.threshold)
    }

    fn key(&self) -> Result<ContentKey, CollectError> {
        let (object, threshold) = (self.object, usize::from(self.deposit.threshold));
        let too_few = CollectError::TooFewShares { object, shares: self.shares.len(), threshold };
        if !self.is_complete() {
            return Err(too_few);
        }
        let some: Vec<&Share> = self.shares.values().take(threshold).map(|(share, _)| share).collect();
        let key = combine(&some).ok_or(too_few)?;
        key.check(&self.seal).map_err(|cause| CollectError::WrongKey { object, cause })?;
        Ok(key)
    }
}

fn index_of(position: usize) -> u8 {
    u8::try_from(position + 1).unwrap_or(u8::MAX)
}
