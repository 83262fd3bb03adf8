//! Content to and from nodes, as CAR archives. What is sent was hashed here; what comes is hashed again.

use std::path::Path;

use content::{Store, car, unixfs};
use futures::{StreamExt as _, TryStreamExt as _};
use model::{ContentId, NodeId, Signed, StorageAck, api::Uploaded};

use crate::{
    client::Client,
    error::{ClientError, Skipped},
    file::FileError,
    nodes::{Miss, Question, conclude, decode},
    progress::{Counter, Watch},
};

/// How long a node may take to fetch everything under a CID from the others.
const ACKNOWLEDGE_MS_MAX: u64 = 10 * 60 * 1000;

/// A node that may store something, and the API to ask; `node` where that API is another one's.
struct Storer {
    api: String,
    node: Option<NodeId>,
}

impl Client {
    /// A block store in a folder of its own that is removed with the returned guard.
    pub(crate) fn scratch_store(&self) -> Result<(tempfile::TempDir, Store), ClientError> {
        let folder = self.state_dir.of_network(&self.network.id);
        std::fs::create_dir_all(&folder)
            .map_err(|cause| ClientError::machine("make a folder for content")(cause.into()))?;
        let guard = tempfile::tempdir_in(&folder)
            .map_err(|cause| ClientError::machine("make a folder for content")(cause.into()))?;
        let store = open_store(guard.path())?;
        Ok((guard, store))
    }

    /// Sends everything under `root`, about `bytes` of it, to one node; returns its API.
    pub(crate) async fn upload(
        &self,
        store: &Store,
        root: &ContentId,
        bytes: u64,
        watch: &dyn Watch,
    ) -> Result<String, ClientError> {
        let mut misses = Vec::new();
        for node in self.nodes.order() {
            let counter = Counter::default();
            let counted = counter.clone();
            let stream = car::export_stream(store, root)
                .inspect_ok(move |piece| counted.add(piece.len()))
                .map_err(std::io::Error::other);
            let body = reqwest::Body::wrap_stream(stream);
            let upload = self.nodes.upload(&node, "/v1/content", car::MEDIA_TYPE, body);
            let sent = counter.watched(watch, bytes, upload).await;
            match sent.and_then(|answer| decode::<Uploaded>(&answer)) {
                Ok(uploaded) if uploaded.root == *root => return Ok(node),
                Ok(_) => misses.push((node, Miss::Disbelieved("it took other content".to_owned()))),
                Err(miss) => misses.push((node, miss)),
            }
        }
        Err(conclude("content to store", misses))
    }

    /// Asks nodes, `first` before the others, to store what is under `root`, until `copies` have signed that they do.
    pub(crate) async fn acknowledgements(
        &self,
        what: &'static str,
        root: &ContentId,
        bytes: u64,
        first: &str,
    ) -> Result<Vec<Signed<StorageAck>>, ClientError> {
        let genesis = self.genesis().await?;
        let needed = genesis.limits.copies as usize;
        let until_ms = crate::client::now_ms() + genesis.limits.storage_ms;
        let mut waiting = self.storers(first).await?.into_iter();
        let mut asked: futures::stream::FuturesUnordered<_> =
            waiting.by_ref().take(needed).map(|storer| self.acknowledge(storer, root)).collect();
        let (mut acks, mut tried) = (Vec::<Signed<StorageAck>>::new(), Vec::new());
        while acks.len() < needed {
            let Some((node, answer)) = asked.next().await else {
                return Err(ClientError::TooFewCopies { what, found: acks.len(), needed, tried });
            };
            match answer.and_then(|ack| self.check_ack(ack, root, bytes, until_ms)) {
                Ok(ack) if acks.iter().all(|other| other.unverified().node != ack.unverified().node) => acks.push(ack),
                Ok(_) => {}
                Err(miss) => tried.push(Skipped { node, why: miss.why() }),
            }
            if acks.len() + asked.len() < needed {
                asked.extend(waiting.next().map(|storer| self.acknowledge(storer, root)));
            }
        }
        acks.sort_by_key(|ack| ack.unverified().node);
        Ok(acks)
    }

    /// Whom to ask for copies: the nodes whose addresses are known, `first` before the others, then those that `first`
    /// can ask.
    async fn storers(&self, first: &str) -> Result<Vec<Storer>, ClientError> {
        let mut known: Vec<String> = self.nodes.order();
        known.sort_by_key(|node| node != first);
        let mut storers: Vec<Storer> = known.into_iter().map(|api| Storer { api, node: None }).collect();
        let (_, nodes) = self.nodes().await?;
        for node in nodes.iter().filter(|node| node.is_fresh(0) && self.api_of(&node.id()).is_none()) {
            storers.push(Storer { api: first.to_owned(), node: Some(node.id()) });
        }
        Ok(storers)
    }

    async fn acknowledge(&self, storer: Storer, root: &ContentId) -> (String, Result<Signed<StorageAck>, Miss>) {
        let named = storer.node.map_or_else(String::new, |node| format!("?node={node}"));
        let path = format!("/v1/content/{root}/acknowledge{named}");
        let question = Question { timeout_ms: ACKNOWLEDGE_MS_MAX, ..Question::post(&path, Vec::new()) };
        let answer = self.nodes.ask_one(&storer.api, question).await.and_then(|bytes| decode(&bytes));
        (storer.api, answer)
    }

    fn check_ack(
        &self,
        ack: Signed<StorageAck>,
        root: &ContentId,
        bytes: u64,
        until_ms: u64,
    ) -> Result<Signed<StorageAck>, Miss> {
        let said = ack.verify(&self.network.id).map_err(Miss::disbelieve)?;
        if said.content != *root || said.bytes != bytes {
            return Err(Miss::Disbelieved("it acknowledged other content".to_owned()));
        }
        if said.until_ms + ledger::ACK_AGE_MS_MAX < until_ms {
            return Err(Miss::Disbelieved("it will not keep the content long enough".to_owned()));
        }
        Ok(ack)
    }

    /// Fetches everything under `root` into `store`; every block is hashed.
    pub(crate) async fn download(
        &self,
        what: &str,
        store: &Store,
        root: &ContentId,
        bytes_max: u64,
    ) -> Result<(), ClientError> {
        let path = format!("/ipfs/{root}?format=car");
        let mut misses = Vec::new();
        for node in self.nodes.order() {
            match self.download_from(&node, &path, store, root, bytes_max).await {
                Ok(()) => return Ok(()),
                Err(miss) => misses.push((node, miss)),
            }
        }
        Err(conclude(what, misses))
    }

    async fn download_from(
        &self,
        node: &str,
        path: &str,
        store: &Store,
        root: &ContentId,
        bytes_max: u64,
    ) -> Result<(), Miss> {
        let response = self.nodes.download(node, path, car::MEDIA_TYPE).await?;
        let pieces = response.bytes_stream().map_err(std::io::Error::other).boxed();
        let received = car::receive(store, pieces, bytes_max).await.map_err(Miss::disbelieve)?;
        if received.roots.iter().any(|(other, _)| other == root) {
            Ok(())
        } else {
            Err(Miss::Disbelieved("it sent other content".to_owned()))
        }
    }

    /// Fetches a public file, such as an object's sample, and writes it to `to`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn fetch_file(&self, what: &str, root: &ContentId, to: &Path, bytes_max: u64) -> Result<(), ClientError> {
        let (_guard, store) = self.scratch_store()?;
        self.download(what, &store, root, bytes_max).await?;
        let (root, to) = (*root, to.to_owned());
        blocking("write the file", move || {
            let mut file = std::fs::File::create(&to)?;
            unixfs::export(&store, &root, &mut file)?;
            Ok(())
        })
        .await
    }

    /// The API of a node, if the network file names it.
    pub(crate) fn api_of(&self, node: &NodeId) -> Option<&str> {
        self.file.nodes.iter().find(|entry| entry.id == *node).map(|entry| entry.api.as_str())
    }
}

fn open_store(folder: &Path) -> Result<Store, ClientError> {
    Store::open(folder, u64::MAX).map_err(|cause| ClientError::machine("keep content")(cause.into()))
}

/// Runs something that blocks away from the threads that answer the network.
pub(crate) async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> Result<T, Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
) -> Result<T, ClientError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        // The user's own file is to blame, and says so itself.
        Ok(Err(cause)) => Err(match cause.downcast::<FileError>() {
            Ok(file) => ClientError::File(*file),
            Err(cause) => ClientError::machine(what)(cause),
        }),
        Err(cause) => Err(ClientError::Machine { what, cause: cause.into() }),
    }
}
