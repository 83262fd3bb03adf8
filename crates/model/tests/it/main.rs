//! Black-box tests of the nouns: one encoding each, and signatures that hold in one place only.

mod encoding;
mod signatures;
