//! Writes `docs/spec/vectors/object` when told to, and checks that it still says what this code does.
