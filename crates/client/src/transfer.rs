//! Content to and from nodes, as CAR archives. What is sent was hashed here; what comes is hashed again.

use std::path::Path;

use content::{Store, car, unixfs};
use futures::{StreamExt as _, TryStreamExt as _};
use model::{ContentId, NetworkId, NodeId, Signed, StorageAck, api::Uploaded};

use crate::{
    client::Client,
    error::{ClientError, Skipped},
    file::FileError,
    listing::NodeView,
    nodes::{Miss, Question, conclude, decode},
    progress::{Counter, Watch},
};

/// How long a node may take to fetch everything under a CID from the others.
const ACKNOWLEDGE_MS_MAX: u64 = 10 * 60 * 1000;

/// A node that may store something, and the API to ask.
struct Storer {
    api: String,
    /// Who it is, if that is known.
    node: Option<NodeId>,
    /// Whether the API is another one's, which hands the question on.
    through: bool,
}

/// What an acknowledgement of storage must say for the ledger to take it.
struct Wanted {
    network: NetworkId,
    root: ContentId,
    bytes: u64,
    until_ms: u64,
    /// Who has a proven verdict that holds. Anybody can make up a key and sign with it.
    appraised: Vec<NodeId>,
}

impl Wanted {
    /// Checks what came when `asked` was asked, if it is known who that is.
    fn check(&self, ack: Signed<StorageAck>, asked: Option<NodeId>) -> Result<Signed<StorageAck>, Miss> {
        let disbelieve = |why: &str| Err(Miss::Disbelieved(why.to_owned()));
        let said = ack.verify(&self.network).map_err(Miss::disbelieve)?;
        if said.content != self.root || said.bytes != self.bytes {
            return disbelieve("it acknowledged other content");
        }
        if said.until_ms.saturating_add(ledger::ACK_AGE_MS_MAX) < self.until_ms {
            return disbelieve("it will not keep the content long enough");
        }
        if asked.is_some_and(|asked| asked != said.node) {
            return disbelieve("another node than the one that was asked has signed");
        }
        if !self.appraised.contains(&said.node) {
            return disbelieve("whoever signed has no verdict that holds");
        }
        Ok(ack)
    }
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
        let until_ms = crate::client::now_ms().saturating_add(genesis.limits.storage_ms);
        let (storers, appraised) = self.storers(first).await?;
        let wanted = Wanted { network: self.network.id, root: *root, bytes, until_ms, appraised };
        let mut waiting = storers.into_iter();
        let mut asked: futures::stream::FuturesUnordered<_> =
            waiting.by_ref().take(needed).map(|storer| self.acknowledge(storer, root)).collect();
        let (mut acks, mut tried) = (Vec::<Signed<StorageAck>>::new(), Vec::new());
        while acks.len() < needed {
            let Some((storer, answer)) = asked.next().await else {
                return Err(ClientError::TooFewCopies { what, found: acks.len(), needed, tried });
            };
            match answer.and_then(|ack| wanted.check(ack, storer.node)) {
                Ok(ack) if acks.iter().all(|other| other.unverified().node != ack.unverified().node) => acks.push(ack),
                Ok(_) => {}
                Err(miss) => tried.push(Skipped { node: storer.api, why: miss.why() }),
            }
            if acks.len() + asked.len() < needed {
                asked.extend(waiting.next().map(|storer| self.acknowledge(storer, root)));
            }
        }
        acks.sort_by_key(|ack| ack.unverified().node);
        Ok(acks)
    }

    /// Whom to ask for copies: the nodes whose addresses are known, `first` before the others, then those that `first`
    /// can ask; and whose copies count.
    async fn storers(&self, first: &str) -> Result<(Vec<Storer>, Vec<NodeId>), ClientError> {
        let mut known: Vec<String> = self.nodes.order();
        known.sort_by_key(|node| node != first);
        let mut storers: Vec<Storer> =
            known.into_iter().map(|api| Storer { node: self.node_at(&api), api, through: false }).collect();
        let (_, nodes) = self.nodes().await?;
        let appraised: Vec<NodeId> = nodes.iter().filter(|node| node.is_fresh(0)).map(NodeView::id).collect();
        for node in appraised.iter().filter(|node| self.api_of(node).is_none()) {
            storers.push(Storer { api: first.to_owned(), node: Some(*node), through: true });
        }
        Ok((storers, appraised))
    }

    async fn acknowledge(&self, storer: Storer, root: &ContentId) -> (Storer, Result<Signed<StorageAck>, Miss>) {
        let named = storer.node.filter(|_| storer.through).map_or_else(String::new, |node| format!("?node={node}"));
        let path = format!("/v1/content/{root}/acknowledge{named}");
        let question = Question { timeout_ms: ACKNOWLEDGE_MS_MAX, ..Question::post(&path, Vec::new()) };
        let answer = self.nodes.ask_one(&storer.api, question).await.and_then(|bytes| decode(&bytes));
        (storer, answer)
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

    /// The node that the network file names for an API.
    fn node_at(&self, api: &str) -> Option<NodeId> {
        self.file.nodes.iter().find(|entry| entry.api == api).map(|entry| entry.id)
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

#[cfg(test)]
mod tests {
    use custody::AccountKey;

    use super::*;

    const NETWORK: NetworkId = NetworkId([7; 32]);

    /// A node that keeps what it is given, and whoever checks what it says about that.
    fn world() -> (AccountKey, Wanted, StorageAck) {
        let node = AccountKey::generate().unwrap();
        let root = ContentId::of_dag_cbor(b"content");
        let wanted = Wanted { network: NETWORK, root, bytes: 9, until_ms: 1 << 40, appraised: vec![node.account()] };
        let ack = StorageAck { content: root, bytes: 9, until_ms: 1 << 40, node: node.account() };
        (node, wanted, ack)
    }

    fn why(checked: Result<Signed<StorageAck>, Miss>) -> String {
        checked.err().unwrap().why()
    }

    #[test]
    fn an_appraised_node_that_keeps_the_content_counts() {
        let (node, wanted, mut ack) = world();
        for asked in [None, Some(node.account())] {
            assert!(wanted.check(node.sign(&NETWORK, ack.clone()), asked).is_ok());
        }
        ack.until_ms = u64::MAX;
        assert!(wanted.check(node.sign(&NETWORK, ack), None).is_ok(), "for ever is long enough");
    }

    #[test]
    fn a_made_up_key_is_no_copy() {
        let (_, wanted, ack) = world();
        let made_up = AccountKey::generate().unwrap();
        let signed = made_up.sign(&NETWORK, StorageAck { node: made_up.account(), ..ack.clone() });
        assert!(why(wanted.check(signed, None)).contains("no verdict that holds"));
        let in_anothers_name = made_up.sign(&NETWORK, ack);
        assert!(wanted.check(in_anothers_name, None).is_err());
    }

    #[test]
    fn one_node_does_not_answer_for_another() {
        let (node, mut wanted, ack) = world();
        let other = AccountKey::generate().unwrap().account();
        wanted.appraised.push(other);
        assert!(why(wanted.check(node.sign(&NETWORK, ack), Some(other))).contains("another node than the one"));
    }

    #[test]
    fn other_content_and_other_networks_do_not_count() {
        let (node, wanted, ack) = world();
        let check = |ack: StorageAck| wanted.check(node.sign(&NETWORK, ack), None);
        assert!(why(check(StorageAck { bytes: 8, ..ack.clone() })).contains("other content"));
        assert!(why(check(StorageAck { until_ms: 1 << 39, ..ack.clone() })).contains("long enough"));
        assert!(wanted.check(node.sign(&NetworkId([8; 32]), ack), None).is_err());
    }
}
