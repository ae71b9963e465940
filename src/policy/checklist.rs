//! Which checklists are demanded (`steward.checklist_policy`). What a checklist means to an operation is said in
//! `operation::checklist`.

use super::{changed, require_privilege, tier_from_enum};
use crate::error::{Fault, Outcome, answer};
use crate::own;
use crate::person::{one_text, required, texts};
use pgrx::prelude::*;
use pgrx::spi::SpiClient;

#[pg_extern(sql = false)]
fn set_checklist(tier: Option<pg_sys::Oid>, list: Option<&str>, demanded: Option<bool>) {
    answer((|| {
        require_privilege("set_checklist")?;
        let tier = tier.ok_or_else(|| Fault::bad_argument("which tier?").hint("normal, important or critical"))?;
        let tier = tier_from_enum(tier)?;
        let list = required("list", list)?;
        let demanded = demanded.ok_or_else(|| Fault::bad_argument("demanded must be true or false"))?;
        own::run(|client| {
            if one_text(client, "SELECT list FROM steward.checklist WHERE list = $1 LIMIT 1", &[list.into()])?.is_none()
            {
                return Err(Fault::unknown(format!("there is no checklist \"{list}\""))
                    .hint("SELECT DISTINCT list FROM steward.checklist;"));
            }
            let change = "UPDATE steward.checklist_policy SET demanded = $3 WHERE tier = $1::steward.tier AND list = $2 RETURNING list";
            let arguments = [tier.name().into(), list.into(), demanded.into()];
            if own::query(client, change, &arguments)?.is_empty() {
                let add =
                    "INSERT INTO steward.checklist_policy (tier, list, demanded) VALUES ($1::steward.tier, $2, $3)";
                own::execute(client, add, &arguments)?;
            }
            Ok(())
        })?;
        changed("set_checklist", list)
    })())
}

/// For `activate()`: the manual's lists that nobody has to fill in.
pub fn not_demanded(client: &mut SpiClient<'_>) -> Outcome<Option<Fault>> {
    let lists = "SELECT DISTINCT list FROM steward.checklist c WHERE installed
        AND NOT EXISTS (SELECT FROM steward.checklist_policy p WHERE p.list = c.list AND p.demanded) ORDER BY 1 DESC";
    let lists = texts(client, lists, &[])?;
    let Some(first) = lists.first() else { return Ok(None) };
    Ok(Some(
        Fault::remark("checklists of the manual (9.1, 9.2) are not demanded")
            .detail(format!("Nobody has to fill in: {}.", lists.join(", ")))
            .hint(format!("SELECT steward.set_checklist('critical', '{first}', true);")),
    ))
}
