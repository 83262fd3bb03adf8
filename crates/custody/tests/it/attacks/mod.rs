//! Ways to get at what one should not have; each file is one, and says who tries it.

mod canary;
mod chunk_surgery;
mod deposit_forgery;
mod ephemeral_key_flood;
mod evidence_not_appraised;
mod executor_not_assigned;
mod few_shares;
mod foreign_archive;
mod key_file;
mod ledger_rollback;
mod lying_custodian;
mod mutated_bytes;
mod object_withdrawn;
mod other_assignment;
mod own_share_damaged;
mod replay;
mod request_forgery;
mod task_drawn_again;
mod task_settled;
mod terms_bent;
mod two_keys;
