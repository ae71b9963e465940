//! The calendar of the policy: holidays, and weekends on which people work.

use crate::core::calendar::Calendar;
use crate::error::{Fault, Outcome, answer};
use crate::own;
use crate::person::{one_text, required};
use crate::policy::{changed, require_privilege};
use pgrx::datum::Date;
use pgrx::prelude::*;
use std::ffi::CStr;

const DAYS: &CStr = c"SELECT (day - date '2000-01-01')::text, is_holiday::text FROM steward.holiday";

/// All of it. What does not read back is an error: a day must not change its kind in silence.
pub fn load() -> Result<Calendar, Fault> {
    let day = |row: Vec<Option<String>>| Some((row[0].as_deref()?.parse::<i32>().ok()?, row[1].as_deref()? == "true"));
    let days: Option<Vec<_>> = own::latest_rows(DAYS).into_iter().map(day).collect();
    Ok(Calendar::new(days.ok_or_else(|| Fault::internal("a row of holiday does not read back"))?))
}

#[pg_extern(sql = false)]
fn set_holiday(day: Option<Date>, is_holiday: Option<bool>, name: Option<&str>) {
    answer((|| {
        require_privilege("set_holiday")?;
        let day = day.ok_or_else(|| Fault::bad_argument("day must not be NULL"))?;
        let name = required("name", name)?;
        let insert = "INSERT INTO steward.holiday (day, is_holiday, name) VALUES ($1, $2, $3)";
        own::run(|client| own::execute(client, insert, &[day.into(), is_holiday.unwrap_or(true).into(), name.into()]))?;
        changed("set_holiday", &day.to_string())
    })())
}

#[pg_extern(sql = false)]
fn drop_holiday(day: Date) {
    answer((|| {
        require_privilege("drop_holiday")?;
        let gone = "DELETE FROM steward.holiday WHERE day = $1 RETURNING name";
        let unknown =
            || Fault::unknown(format!("the calendar says nothing of {day}")).hint("SELECT * FROM steward.holiday;");
        own::run(|client| -> Outcome<_> { one_text(client, gone, &[day.into()]) })?.ok_or_else(unknown)?;
        changed("drop_holiday", &day.to_string())
    })())
}
