//! Facts by which the system fills a box of a checklist itself. Each is read where it is kept, when it is asked for; what
//! cannot be proved is left to a person.

use super::{Operation, person_named};
use crate::core::operation::{Step, conflict};
use crate::error::{Fault, Outcome};
use crate::own;
use crate::person::one_text;

/// The fact, as a sentence for the trail; None: it is none.
pub fn of(operation: &Operation, proof: &str) -> Outcome<Option<String>> {
    Ok(match proof {
        "applicant" => applicant(operation),
        "second_person" => second_person(operation)?,
        "pre_image" => operation
            .restorable_run()
            .map(|_| "The tier demands a pre-image: a run that cannot keep one is refused.".to_owned()),
        "window" => read(operation, WINDOW)?,
        "rollback_plan" => read(operation, ROLLBACK_PLAN)?,
        "ran_in_full" => read(operation, RAN_IN_FULL)?,
        "rows_as_expected" => read(operation, ROWS_AS_EXPECTED)?,
        "no_failure" => read(operation, NO_FAILURE)?,
        "chained" => read(operation, CHAINED)?,
        other => return Err(Fault::internal(format!("nothing is known about the proof \"{other}\""))),
    })
}

/// What helps where a proof is wanting and nobody may answer instead.
pub fn next(proof: &str) -> &'static str {
    match proof {
        "chained" => "SELECT steward.flush_audit();",
        _ => "SELECT * FROM steward.operation_trail ORDER BY n;",
    }
}

fn applicant(operation: &Operation) -> Option<String> {
    let person = person_named(&operation.parts.applicant).filter(|person| person.may("apply"))?;
    Some(format!("The post {} of {} gives the capability apply.", person.post, person.name))
}

/// The confirmation is fresh and was given by somebody who takes no other part.
fn second_person(operation: &Operation) -> Outcome<Option<String>> {
    let Some(witness) = operation.parts.witness.as_deref() else { return Ok(None) };
    let stands_by = person_named(witness)
        .is_some_and(|person| person.may("witness") && operation.witness_stands_by(&person))
        && conflict(Step::Confirm, witness, &operation.parts).is_none()
        && operation.confirmation_counts()?;
    Ok(stands_by.then(|| format!("{witness} has confirmed it and stands by.")))
}

fn read(operation: &Operation, fact: &str) -> Outcome<Option<String>> {
    own::run(|client| one_text(client, fact, &[operation.op_no.as_str().into()]))
}

const WINDOW: &str =
    "SELECT format('It runs between %s and %s only.', not_before AT TIME ZONE 'UTC', not_after AT TIME ZONE 'UTC')
    FROM steward._operation WHERE op_no = $1 AND isfinite(not_before) AND isfinite(not_after)";

const ROLLBACK_PLAN: &str = "SELECT 'The plan was filed with the script.' FROM steward._operation WHERE op_no = $1
    AND btrim(rollback_plan) <> ''";

/// A run is written down only after its last statement, with the digest of what ran.
const RAN_IN_FULL: &str = "SELECT format('%s of %s runs came to their end, each of the approved bytes.', count(e.n), o.runs_done)
    FROM steward._operation o JOIN steward._operation_event e ON e.op_no = o.op_no AND e.event = 'EXECUTE' AND e.digest = o.digest
    WHERE o.op_no = $1 GROUP BY o.runs_done HAVING o.runs_done > 0 AND count(e.n) = o.runs_done";

/// What queries returned does not count.
const ROWS_AS_EXPECTED: &str = "SELECT format('%s rows, as expected.', sum((e.details ->> 'changed')::bigint))
    FROM steward._operation o JOIN steward._operation_event e ON e.op_no = o.op_no AND e.event = 'EXECUTE'
    WHERE o.op_no = $1 GROUP BY o.runs_done
    HAVING o.runs_done > 0 AND count(*) = o.runs_done AND bool_and((e.details ->> 'changed')::bigint = o.expected_rows) IS TRUE";

const NO_FAILURE: &str = "SELECT 'No attempt failed or was rolled back.' FROM steward._operation o WHERE op_no = $1 AND runs_done > 0
    AND NOT EXISTS (SELECT FROM steward._operation_event e WHERE e.op_no = o.op_no AND e.event IN ('FAIL', 'ROLLED BACK', 'DISARM'))";

const CHAINED: &str = "SELECT format('Records %s of the chain tell of %s runs.', string_agg(l.id::text, ', ' ORDER BY l.id), o.runs_done)
    FROM steward._operation o JOIN steward.audit_log l ON l.op_no = o.op_no AND l.operation_type = 'EXECUTE' AND l.result = 'SUCCESS'
    WHERE o.op_no = $1 GROUP BY o.runs_done HAVING count(*) >= o.runs_done AND o.runs_done > 0";
