//! Logs: one line per event on standard error, `RUST_LOG` picks what is shown. Never a secret, never a plaintext.

use tracing_subscriber::EnvFilter;

/// What is logged when `RUST_LOG` is not set: this project's events, and of the libraries what needs attention.
const DEFAULT_FILTER: &str = "warn,node=info,samovar=info";

/// Starts logging for this process.
pub(crate) fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    // A second call in one process (tests) keeps the first subscriber.
    let _ = subscriber.try_init();
}
