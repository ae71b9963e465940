//! Which chain this database keeps, and where it ends. A ledger is one chain from its genesis record on; a restored
//! database begins a new one, which goes on behind the old one (see `incarnation`).

use super::sequencer::server_record;
use super::{segment, table};
use crate::core::chain::{self, Hash, Head};
use crate::core::record::{Kind, Outcome as Result, Record};
use crate::error::Outcome;
use crate::own;
use pgrx::Uuid;
use pgrx::prelude::*;
use pgrx::spi::SpiClient;
use serde_json::json;

/// The identity of the chain, and what its first link is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ledger {
    pub id: chain::Ledger,
    pub system_identifier: String,
}

impl Ledger {
    /// The `prev_hash` of record 1.
    pub fn genesis_prev(&self) -> Hash {
        chain::genesis_prev(&self.id, self.system_identifier.as_bytes())
    }
}

/// The ledger of the stored chain: the row its first record was bound to; else the newest row; else, if the table is
/// empty, what the genesis record says. None without any of these.
pub(crate) fn current(client: &mut SpiClient<'_>) -> Outcome<Option<Ledger>> {
    let mut ledgers = Vec::new();
    for row in
        own::select(client, "SELECT ledger, system_identifier FROM steward.ledger ORDER BY started_at DESC", &[])?
    {
        if let (Some(id), Some(system_identifier)) = (row.get::<Uuid>(1)?, row.get::<String>(2)?) {
            ledgers.push(Ledger { id: *id.as_bytes(), system_identifier });
        }
    }
    let first = own::select(client, "SELECT record, prev_hash FROM steward.chain WHERE id = 1 LIMIT 1", &[])?.first();
    let (mut told, mut prev) = (None, None);
    if !first.is_empty() {
        told = first.get::<Vec<u8>>(1)?.and_then(|record| told_by(&record));
        prev = first.get::<Vec<u8>>(2)?;
    }
    let bound = ledgers.iter().position(|ledger| prev.as_deref() == Some(&ledger.genesis_prev()[..]));
    Ok(ledgers.into_iter().nth(bound.unwrap_or(0)).or(told))
}

fn told_by(record: &[u8]) -> Option<Ledger> {
    let record = Record::decode(record).ok().filter(|record| record.kind == Kind::Genesis)?;
    let details: serde_json::Value = serde_json::from_str(record.details.as_deref()?).ok()?;
    let id = u128::from_str_radix(&details["ledger"].as_str()?.replace('-', ""), 16).ok()?;
    let system_identifier = details["system_identifier"].as_str()?.to_owned();
    Some(Ledger { id: id.to_be_bytes(), system_identifier })
}

/// Begins a new chain: its row in `steward.ledger` and its genesis record, which is to be chained first.
pub(crate) fn start(client: &mut SpiClient<'_>) -> Outcome<(Ledger, Record)> {
    let (mut id, system_identifier, timeline);
    // Safe: getters of control data outside recovery, where the sequencer alone runs.
    unsafe {
        id = [0_u8; 16];
        if !pg_sys::pg_strong_random(id.as_mut_ptr().cast(), id.len()) {
            return Err(crate::error::Fault::internal("no random number for a new ledger"));
        }
        system_identifier = pg_sys::GetSystemIdentifier().to_string();
        timeline = pg_sys::GetWALInsertionTimeLine();
    }
    own::execute(
        client,
        "INSERT INTO steward.ledger (ledger, started_at, system_identifier) VALUES ($1, clock_timestamp(), $2)",
        &[Uuid::from_bytes(id).into(), system_identifier.clone().into()],
    )?;
    let version = own::query(client, "SELECT extversion::text FROM pg_extension WHERE extname = 'pg_steward'", &[])?
        .first()
        .get_one::<String>()?;
    let details = json!({
        "ledger": uuid_text(&id), "system_identifier": system_identifier, "timeline": timeline,
        "extension_version": version,
    });
    let mut genesis = server_record("GENESIS", Result::Success, details);
    genesis.kind = Kind::Genesis;
    Ok((Ledger { id, system_identifier }, genesis))
}

/// The id as SQL shows a uuid.
pub(super) fn uuid_text(id: &chain::Ledger) -> String {
    let hex = format!("{:032x}", u128::from_be_bytes(*id));
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// The end of the stored chain. A stored hash of a wrong length counts as zeros: the chain goes on, and does not verify.
pub(crate) fn head(client: &mut SpiClient<'_>, ledger: &Ledger) -> Outcome<Head> {
    let last = own::select(client, "SELECT id, hash FROM steward.chain ORDER BY id DESC LIMIT 1", &[])?.first();
    if last.is_empty() {
        return Ok(Head { ledger: ledger.id, id: 0, hash: ledger.genesis_prev() });
    }
    let (id, hash) = last.get_two::<i64, Vec<u8>>()?;
    let hash = Hash::try_from(hash.unwrap_or_default()).unwrap_or_default();
    Ok(Head { ledger: ledger.id, id: id.unwrap_or_default(), hash })
}

/// Links encoded records to `head`, stores them and moves `head` to the last.
pub(crate) fn append(ledger: &Ledger, head: &mut Head, records: &[Vec<u8>]) -> Outcome<()> {
    let open = segment::open_relation().ok_or_else(segment::gone)?;
    let rows = records.iter().map(|record| {
        let prev_hash = head.hash;
        head.id += 1;
        head.hash = chain::link(&ledger.id, head.id, &prev_hash, &chain::leaf(record));
        table::Row { id: head.id, record, prev_hash, hash: head.hash }
    });
    table::insert(open, rows);
    Ok(())
}

/// Why the chain does not continue the head that was kept in the file, if it does not.
pub(super) fn contradicts(
    client: &mut SpiClient<'_>,
    kept: Option<&str>,
    head: &Head,
) -> Outcome<Option<&'static str>> {
    let Some(line) = kept else { return Ok((head.id > 0).then_some("the head file is missing")) };
    let Some(kept) = Head::parse(line.trim_end_matches('\n')) else { return Ok(Some("the head file is unreadable")) };
    if kept.ledger != head.ledger {
        return Ok(Some("the head file belongs to another ledger"));
    }
    if kept.id > head.id {
        return Ok(Some("the chain is shorter than the head file says"));
    }
    let stored = own::query(client, "SELECT hash FROM steward.chain WHERE id = $1 LIMIT 1", &[kept.id.into()])?.first();
    let same = kept.id == 0 || !stored.is_empty() && stored.get_one::<Vec<u8>>()?.as_deref() == Some(&kept.hash[..]);
    Ok((!same).then_some("the chain has another record at the head file's id"))
}
