//! What an operator's Prometheus reads. Counters are bumped where things happen; gauges are read when asked.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::api::Api;

/// The node's metrics.
pub(crate) struct Metrics {
    registry: Registry,
    /// Tasks that this node has ended, by outcome (`done` or a failure class).
    pub(crate) tasks: Family<Outcome, Counter>,
    /// From assignment to receipt, seconds.
    pub(crate) task_seconds: Histogram,
    /// Shares this node has released.
    pub(crate) releases: Counter,
    /// Votes this node has given as an appraiser.
    pub(crate) votes: Counter,
    /// Verdicts this node has obtained.
    pub(crate) verdicts: Counter,
    height: Gauge,
    ledger_time: Gauge<f64, AtomicU64>,
    verdict_expires: Gauge<f64, AtomicU64>,
    open_tasks: Gauge,
    running: Gauge,
    peers: Gauge,
    stored: Gauge,
    state_values: Gauge,
    state: Gauge,
}

/// How a task ended.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct Outcome {
    /// `done` or a failure class.
    pub(crate) outcome: String,
}

impl Metrics {
    /// All at zero.
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("samovar"),
            tasks: Family::default(),
            task_seconds: Histogram::new([0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0]),
            releases: Counter::default(),
            votes: Counter::default(),
            verdicts: Counter::default(),
            height: Gauge::default(),
            ledger_time: Gauge::default(),
            verdict_expires: Gauge::default(),
            open_tasks: Gauge::default(),
            running: Gauge::default(),
            peers: Gauge::default(),
            stored: Gauge::default(),
            state_values: Gauge::default(),
            state: Gauge::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("tasks", "Tasks ended by this node", self.tasks.clone());
        let seconds = self.task_seconds.clone();
        registry.register_with_unit("task", "From assignment to receipt", Unit::Seconds, seconds);
        registry.register("releases", "Shares of keys released", self.releases.clone());
        registry.register("votes", "Appraisal votes given", self.votes.clone());
        registry.register("verdicts", "Verdicts obtained", self.verdicts.clone());
        registry.register("height", "Height of the last finalized block", self.height.clone());
        let time = self.ledger_time.clone();
        registry.register_with_unit("ledger_time", "Ledger time since 1970", Unit::Seconds, time);
        let expires = self.verdict_expires.clone();
        registry.register_with_unit("verdict_expires", "Ledger time at which the verdict ends", Unit::Seconds, expires);
        registry.register("open_tasks", "Tasks that are not settled, on the whole network", self.open_tasks.clone());
        registry.register("running", "Tasks this node runs now", self.running.clone());
        registry.register("peers", "Content peers connected", self.peers.clone());
        registry.register_with_unit("stored", "Bytes of content blocks", Unit::Bytes, self.stored.clone());
        registry.register("state_values", "Values in the ledger's live state", self.state_values.clone());
        registry.register_with_unit("state", "Bytes of the values in the live state", Unit::Bytes, self.state.clone());
    }

    /// Reads the gauges.
    pub(crate) async fn see(&self, api: &Api) {
        // An engine that has stopped has no state to measure; the gauges keep what they had.
        if let Ok(size) = api.chain.consensus().state_size().await {
            self.state_values.set(signed(size.values));
            self.state.set(signed(size.bytes));
        }
        let tip = api.index.tip();
        self.height.set(signed(tip.height));
        self.ledger_time.set(tip.time_ms as f64 / 1000.0);
        {
            let places = api.index.places();
            self.open_tasks.set(signed(places.open_count() as u64));
            let verdict = places.node(&api.node).and_then(|node| node.verdict);
            self.verdict_expires.set(verdict.map_or(0.0, |verdict| verdict.expires_ms as f64 / 1000.0));
        }
        self.running.set(i64::from(api.executor.running()));
        self.peers.set(i64::from(api.peers.connected()));
        self.stored.set(signed(api.content.store().used_bytes()));
    }

    /// The OpenMetrics text.
    pub(crate) fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
