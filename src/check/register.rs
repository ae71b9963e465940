//! What the audit chain says was done to records of the register, kept in a table, so that the check of a day reads what
//! was chained since the one before, and not months.
//!
//! The table counts only as far as the chain attests it: every run puts its digest on record, and the next one looks for
//! that record among those that it has not read yet. A table that was changed, set back or never attested is made anew
//! from all that is online. Never here: trust in the table, in its number or in a clock.

use crate::error::Outcome;
use crate::own;
use crate::person::one_text;
use pgrx::spi::SpiClient;

/// The check that reads the table.
pub const NAME: &str = "register";

/// What a run puts on record of the table: the last record of the chain that it knows of, and its digest.
pub struct Attested {
    pub through: i64,
    pub sha256: String,
}

const HEAD: &str = "SELECT coalesce((SELECT id FROM steward.chain ORDER BY id DESC LIMIT 1), 0)::text";

const DIGEST: &str =
    "SELECT encode(sha256(convert_to(coalesce(string_agg(s::text, E'\\n' ORDER BY id), ''), 'UTF8')), 'hex')
    FROM steward._register_step s";

/// The text is looked for first: of millions of records it leaves a handful to decode.
const ATTESTED: &str = "SELECT count(*)::text FROM (SELECT record FROM steward.chain
        WHERE id > $1 AND position('\"through\":'::bytea IN record) > 0 OFFSET 0) c
    LEFT JOIN steward._definition what ON what.id = steward._record_reference(c.record, 24)
    WHERE steward._record_text(c.record, 1) = 'policy'
        AND coalesce(steward._record_text(c.record, 9), steward._defined_text(what.record, 9)) = 'daily_check'
        AND (steward._record_text(c.record, 20)::jsonb -> 'register')
            = jsonb_build_object('through', $1, 'sha256', $2)";

const READ: &str = "INSERT INTO steward._register_step (id, step, person, record, digest, reason)
    SELECT id, step, person, (told ->> 'record')::bigint, told ->> 'digest', told ->> 'reason'
    FROM (SELECT c.id, coalesce(steward._record_text(c.record, 9), steward._defined_text(what.record, 9)) AS step,
            coalesce(steward._record_text(c.record, 5), steward._defined_text(who.record, 5)) AS person,
            steward._record_text(c.record, 20)::jsonb AS told
        FROM (SELECT id, record FROM steward.chain WHERE id > $1 AND id <= $2 AND position('\"record\":'::bytea IN record) > 0
                AND steward._record_text(record, 15) = 'SUCCESS' OFFSET 0) c
            LEFT JOIN steward._definition who ON who.id = steward._record_reference(c.record, 23)
            LEFT JOIN steward._definition what ON what.id = steward._record_reference(c.record, 24)
        WHERE coalesce(steward._record_text(c.record, 9), steward._defined_text(what.record, 9))
            IN ('add_record', 'register_backup', 'confirm_record', 'withdraw_record') OFFSET 0) said";

/// Brings the table up to the end of the chain.
pub fn read_on() -> Outcome<Attested> {
    own::run(|client| {
        own::pin(&own::BY_ID);
        let head = number(client, HEAD)?;
        let known = attested(client)?;
        if known.is_none() {
            own::execute(client, "DELETE FROM steward._register_step", &[])?;
        }
        own::execute(client, READ, &[known.unwrap_or(0).into(), head.into()])?;
        own::execute(client, "DELETE FROM steward._register_read", &[])?;
        own::execute(client, "INSERT INTO steward._register_read (through) VALUES ($1)", &[head.into()])?;
        Ok(Attested { through: head, sha256: digest(client)? })
    })
}

/// How far the table is known to be what the chain says; None: not at all.
fn attested(client: &mut SpiClient<'_>) -> Outcome<Option<i64>> {
    let Some(through) = one_text(client, "SELECT max(through)::text FROM steward._register_read", &[])? else {
        return Ok(None);
    };
    let through: i64 = through.parse().unwrap_or(0);
    let digest = digest(client)?;
    let found = one_text(client, ATTESTED, &[through.into(), digest.as_str().into()])?;
    Ok(Some(through).filter(|_| found.is_some_and(|found| found != "0")))
}

fn digest(client: &mut SpiClient<'_>) -> Outcome<String> {
    Ok(one_text(client, DIGEST, &[])?.unwrap_or_default())
}

fn number(client: &mut SpiClient<'_>, query: &str) -> Outcome<i64> {
    Ok(one_text(client, query, &[])?.and_then(|text| text.parse().ok()).unwrap_or(0))
}
