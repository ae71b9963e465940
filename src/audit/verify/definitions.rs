//! The table of definitions against the chain. The audit views find who and what of a record by the ids in that table;
//! the content itself is in the chain. So a row too few or too many is no damage of the chain and no lie, but what is not
//! found is not shown.

use super::Task;
use super::catalog::Difference;
use crate::core::chain::Verdict;
use crate::core::record::is_definition;
use crate::error::Outcome;
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

    /// Looks for ids that the table lacks, or has without there being such a definition, in the range that was read. Beyond
    /// an end of the chain there are none.
    pub fn compare(self, client: &mut SpiClient<'_>, task: &Task, read: &Verdict) -> Outcome<Option<Difference>> {
        let (Some(first), Some(last)) = (read.from_id, read.to_id) else { return Ok(None) };
        let from = if task.from_oldest { i64::MIN } else { first };
        let to = if task.last.is_none() { i64::MAX } else { last };
        let differences = "WITH told AS (SELECT id FROM steward.definition WHERE id BETWEEN $2 AND $3),
                seen AS (SELECT unnest($1) AS id),
                lacking AS (TABLE seen EXCEPT TABLE told),
                wrong AS (TABLE told EXCEPT TABLE seen)
            SELECT (SELECT count(*) FROM lacking), (SELECT count(*) FROM wrong),
                (SELECT min(id) FROM (TABLE lacking UNION ALL TABLE wrong) AS difference)";
        let row = own::select(client, differences, &[self.0.into(), from.into(), to.into()])?.first();
        let (lacking, wrong, id) = row.get_three::<i64, i64, i64>()?;
        let (lacking, wrong) = (lacking.unwrap_or_default(), wrong.unwrap_or_default());
        Ok(id.map(|id| Difference {
            table: "definition",
            id,
            detail: format!(
                "Of the definitions in records {first} to {last} it lacks {lacking}, and it names {wrong} that are none; \
                 the audit views show where a definition is missing."
            ),
            hint: "Somebody changed the table while pg_steward was not loaded. Its rows are the ids of the records for which \
                   steward._record_text(record, 1) is 'definition'.",
        }))
    }
}
