//! Images of rows and tables as they were before a change, and what restores them: `row` is the trigger that keeps row
//! images, `table` copies what DROP, TRUNCATE and ALTER TABLE take away, `restore` brings both back (`row_restore`
//! with `place` and `reference`, `table_restore`; `deferred` runs its statements, `role` says as whom), `affected` knows
//! what a command reaches, `text` writes values so that they read back exactly. Images hold protected values: nothing here shows one to anybody.
//!
//! No pre-image, no execution: where an operation's tier demands one, a protected table without its trigger, and data that
//! goes without a copy, are refused.

mod affected;
mod deferred;
mod erase;
mod place;
mod purge;
mod reference;
mod restore;
mod role;
mod row;
mod row_restore;
mod table;
mod table_restore;
pub mod text;

pub use purge::purge;
pub use row::{adopt, install, remove};
pub use table::{before_command, require_copy};

use crate::break_glass::window;
use crate::cache::{Member, Root};
use crate::error::{Fault, Outcome};
use crate::operation::cover;
use crate::own;
use pgrx::pg_sys;
use pgrx::spi::SpiClient;
use sha2::{Digest, Sha256};
use std::ffi::CStr;

/// Name of the trigger on every protected table. Triggers fire in the order of their names: behind those of foreign keys
/// (`RI_ConstraintTrigger_…`), so that children are restored after their parents, and before those of most applications, so
/// that what these do to the same row is undone before it.
pub const TRIGGER: &str = "RI_steward_row_image";

/// The run whose changes must be restorable: operation and run.
#[derive(Clone, PartialEq, Eq)]
pub struct Run {
    pub op_no: String,
    pub number: i32,
}

/// The run that is under way, if its tier demands a pre-image; an emergency window is one.
fn demanded() -> Option<Run> {
    match cover::current() {
        Some(cover) => cover.images.clone(),
        None => window::images(),
    }
}

/// Whether something is kept of each row of a table that is changed now.
pub fn keeps(root: &Root) -> bool {
    root.row_images || demanded().is_some()
}

/// A table of the tree under a relation without a trigger that keeps everything: for each row, after INSERT, UPDATE and
/// DELETE (29), at once, and whatever the session's replication role is.
const UNARMED: &CStr = c"WITH RECURSIVE tree AS (SELECT $1::oid AS relation
        UNION SELECT i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.relation)
    SELECT n.nspname || '.' || c.relname FROM tree t JOIN pg_class c ON c.oid = t.relation
        JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = c.oid AND g.tgfoid = 'steward._keep_row_image()'::regprocedure
        AND g.tgenabled = 'A' AND g.tgtype = 29 AND g.tgqual IS NULL AND g.tgattr = '' AND NOT g.tgdeferrable)
    ORDER BY 1 LIMIT 1";

/// Before rows of these tables, or of what inherits from them, are changed by a run that must be restorable: each has its
/// trigger. Asked of the newest catalog, as the plan was: an older snapshot does not show a table that was attached since.
pub fn require_triggers<'m>(members: impl Iterator<Item = &'m std::rc::Rc<Member>>) -> Outcome<()> {
    if demanded().is_none() {
        return Ok(());
    }
    for member in members {
        let unarmed = own::latest_rows_of(UNARMED, &[&member.relation.to_u32().to_string()]);
        if let Some(name) = unarmed.into_iter().flatten().flatten().next() {
            return Err(Fault::wrong_state(format!("no pre-image can be kept of {name}"))
                .detail(format!("Its trigger \"{TRIGGER}\" is missing or switched off."))
                .hint(format!("SELECT steward.protect('{}');", member.root.name)));
        }
    }
    Ok(())
}

/// Images and their digest, of a run in this transaction or earlier.
fn digest(client: &mut SpiClient<'_>, run: &Run) -> Outcome<(i64, [u8; 32])> {
    let _exact = text::Exact::enter();
    let images = "SELECT id, r::text FROM steward.row_image r WHERE op_no = $1 AND run = $2
        UNION ALL SELECT id, t::text FROM steward.table_image t WHERE op_no = $1 AND run = $2 ORDER BY 1";
    let mut cursor = client.open_cursor_mut(images, &[run.op_no.as_str().into(), run.number.into()]);
    let (mut count, mut hash) = (0, Sha256::new());
    loop {
        let rows = cursor.fetch(1000)?;
        // Safe: what the fetch has just filled.
        let filled = unsafe { pg_sys::SPI_tuptable };
        if rows.is_empty() {
            return Ok((count, hash.finalize().into()));
        }
        for row in rows {
            let image = row.get::<String>(2)?.unwrap_or_default();
            hash.update((image.len() as u64).to_be_bytes());
            hash.update(image.as_bytes());
            count += 1;
        }
        // Kept to the end of the call, the images of a large run would all be in memory at once.
        // Safe: its rows are consumed, and their values were copied.
        unsafe { pg_sys::SPI_freetuptable(filled) };
    }
}

/// At the end of a run: how many images it has kept, and their digest for its record.
pub fn seal(client: &mut SpiClient<'_>, run: &Run) -> Outcome<(i64, [u8; 32])> {
    let (images, sha256) = digest(client, run)?;
    let insert = "INSERT INTO steward.pre_image (op_no, run, images, sha256) VALUES ($1, $2, $3, $4)";
    let arguments = [run.op_no.as_str().into(), run.number.into(), images.into(), sha256.to_vec().into()];
    own::execute(client, insert, &arguments)?;
    Ok((images, sha256))
}
