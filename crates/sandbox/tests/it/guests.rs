//! Guests that are part of the tree.

pub(crate) const COUNT: &[u8] = include_bytes!("../../../../guests/trivial.wasm");
pub(crate) const LOOP: &[u8] = include_bytes!("../../../../guests/loop.wasm");
pub(crate) const TRAP: &[u8] = include_bytes!("../../../../guests/trap.wasm");
pub(crate) const MEMORY: &[u8] = include_bytes!("../../../../guests/memory.wasm");
pub(crate) const OUTPUT: &[u8] = include_bytes!("../../../../guests/output.wasm");

pub(crate) const REGRESSION: &[u8] =
    include_bytes!("../../../../examples/logistic-regression/logistic-regression.wasm");
pub(crate) const REGRESSION_COMPONENT: &[u8] =
    include_bytes!("../../../../examples/logistic-regression/logistic-regression.component.wasm");
pub(crate) const RECORDS: &[u8] = include_bytes!("../../../../examples/breast-cancer/breast-cancer.csv");
