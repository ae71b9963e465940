//! The table of definitions against the chain. The audit views find who and what of a record by the ids in that table;
//! the content itself is in the chain. So a row too few or too many is no damage of the chain and no lie, but what is not
//! found is not shown, and that must be said.

use crate::core::chain::Verdict;
use crate::core::record::is_definition;
use crate::error::{Fault, Outcome};
use crate::own;
use pgrx::spi::SpiClient;

/// The ids of the definitions that were read.
#[derive(Default)]
pub(super) struct Definitions(Vec<i64>);

impl Definitions {
    /// Takes note of a record, if it is one.
    pub fn see(&mut self, id: i64, record: &[u8]) {
        if is_definition(record) {
            self.0.push(id);
        }
    }

    /// Warns of ids that the table lacks, or has without there being such a definition, in the range that was read.
    pub fn compare(self, client: &mut SpiClient<'_>, read: &Verdict) -> Outcome<()> {
        let (Some(first), Some(last)) = (read.from_id, read.to_id) else { return Ok(()) };
        let differences = "WITH told AS (SELECT id FROM steward.definition WHERE id BETWEEN $2 AND $3),
                seen AS (SELECT unnest($1) AS id)
            SELECT (SELECT count(*) FROM (TABLE seen EXCEPT TABLE told) AS lacking),
                (SELECT count(*) FROM (TABLE told EXCEPT TABLE seen) AS wrong)";
        let (lacking, wrong) = own::select(client, differences, &[self.0.into(), first.into(), last.into()])?
            .first()
            .get_two::<i64, i64>()?;
        let (lacking, wrong) = (lacking.unwrap_or_default(), wrong.unwrap_or_default());
        if lacking + wrong > 0 {
            Fault::corrupted("table steward.definition is not what the chain says")
                .detail(format!(
                    "Of the definitions in records {first} to {last} it lacks {lacking}, and it names {wrong} that are none. \
                     The chain itself is whole; the audit views show where a definition is missing."
                ))
                .hint(
                    "Somebody changed the table while pg_steward was not loaded. Its rows are the ids of the records for which \
                     steward._record_text(record, 1) is 'definition'.",
                )
                .warn();
        }
        Ok(())
    }
}
