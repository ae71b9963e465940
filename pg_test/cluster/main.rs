//! Tests of pg_steward from outside: real sessions, restarts, crashes, dumps, other databases.
//!
//! One file per subject; a test is a function that panics when the server behaves otherwise than
//! it should. Each makes a cluster of its own, so no test can disturb another and the order does
//! not matter. The extension must be installed; `pg_test/run cluster` does that first.
//! Never here: what one session in one transaction can show (`#[pg_test]`, `pg_test/regress`).

/// Names the tests of a file: `tests! { first, second }` defines `tests()` for `main`.
macro_rules! tests {
    ($($name:ident),+ $(,)?) => {
        pub fn tests() -> Vec<(&'static str, fn())> {
            vec![$((concat!(module_path!(), "::", stringify!($name)), $name as fn())),+]
        }
    };
}

mod access;
mod account;
mod activation;
mod alert;
mod alert_query;
mod altered;
mod application;
mod application_bound;
mod approval_defects;
mod approval_rule;
mod armed;
mod armed_change;
mod attack;
mod break_glass;
mod bulk;
mod chain;
mod check;
mod checklist;
mod clock;
mod clock_step;
mod cluster;
mod condition;
mod connections;
mod copies;
mod courses;
mod crash;
mod definition;
mod denial;
mod dependency;
mod disk_full;
mod dump;
mod erasure;
mod erasure_request;
mod exclusive;
mod expect;
mod export;
mod failover;
mod fault;
mod foreign_error;
mod form;
mod history;
mod home;
mod idle;
mod image_read;
mod job;
mod journal_count;
mod last_person;
mod leaver;
mod leftover;
mod lock;
mod login;
mod long_transaction;
mod mask_value;
mod masking;
mod masking_view;
mod matrix;
mod metrics;
mod mlps;
mod mode;
mod month;
mod mutation;
mod never_alone;
mod operation;
mod operation_seal;
mod operation_told;
mod order;
mod other_database;
mod parallel;
mod policy;
mod pre_image;
mod reach;
mod record;
mod record_kind;
mod record_text;
mod report;
mod restore;
mod restore_among_others;
mod retention;
mod review_queue;
mod role_form;
mod row_image;
mod row_trigger;
mod school;
mod scope;
mod second_factor;
mod segment;
mod separation;
mod sequencer;
mod small_disk;
mod sqlsmith;
mod standing;
mod start;
mod stepwise;
mod storm;
mod structure;
mod torn;
mod traffic;
mod trail;
mod turning_off;
mod uninstall;
mod waiting;
mod way_around;
mod window;
mod wire;
mod witness;
mod write_out;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let subjects = [
        alert::tests(),
        alert_query::tests(),
        altered::tests(),
        activation::tests(),
        access::accepted::tests(),
        access::floor::tests(),
        access::lint::tests(),
        access::matrix::tests(),
        access::report::tests(),
        application::tests(),
        application_bound::tests(),
        approval_defects::tests(),
        approval_rule::tests(),
        armed::tests(),
        armed_change::tests(),
        attack::tests(),
        break_glass::attack::tests(),
        break_glass::incident::tests(),
        break_glass::opening::tests(),
        break_glass::window::tests(),
        bulk::tests(),
        chain::tests(),
        check::tests(),
        checklist::tests(),
        clock_step::tests(),
        copies::tests(),
        condition::tests(),
        connections::tests(),
        courses::tests(),
        crash::tests(),
        definition::tests(),
        denial::tests(),
        dependency::tests(),
        disk_full::tests(),
        dump::tests(),
        erasure::tests(),
        erasure_request::tests(),
        exclusive::tests(),
        export::tests(),
        failover::tests(),
        foreign_error::tests(),
        form::tests(),
        history::tests(),
        home::tests(),
        last_person::tests(),
        leaver::tests(),
        idle::tests(),
        image_read::tests(),
        job::tests(),
        journal_count::tests(),
        leftover::tests(),
        lock::tests(),
        login::tests(),
        long_transaction::tests(),
        mask_value::tests(),
        masking_view::tests(),
        masking::asked::tests(),
        masking::cached_plan::tests(),
        masking::condition::tests(),
        masking::constraint::tests(),
        masking::copied::tests(),
        masking::documented::tests(),
        masking::every_plan::tests(),
        masking::every_question::tests(),
        masking::every_read::tests(),
        masking::every_row::tests(),
        masking::every_session::tests(),
        masking::every_write::tests(),
        masking::given::tests(),
        masking::order::tests(),
        masking::path::tests(),
        masking::role::tests(),
        masking::rule::tests(),
        masking::unlabelled::tests(),
        masking::write_rule::tests(),
        masking::written::tests(),
        matrix::tests(),
        metrics::tests(),
        mlps::tests(),
        mode::tests(),
        month::tests(),
        mutation::tests(),
        never_alone::tests(),
        operation::tests(),
        operation_seal::tests(),
        operation_told::tests(),
        order::tests(),
        other_database::tests(),
        parallel::tests(),
        policy::tests(),
        pre_image::tests(),
        reach::tests(),
        record::tests(),
        record_kind::tests(),
        record_text::tests(),
        report::tests(),
        restore::tests(),
        restore_among_others::tests(),
        retention::tests(),
        review_queue::tests(),
        role_form::tests(),
        row_image::tests(),
        row_trigger::tests(),
        scope::around::tests(),
        scope::attempt::tests(),
        scope::posts::tests(),
        scope::purpose::tests(),
        scope::rows::tests(),
        scope::temporary::tests(),
        segment::tests(),
        second_factor::code::tests(),
        second_factor::demand::tests(),
        second_factor::enrolment::tests(),
        second_factor::secret::tests(),
        separation::tests(),
        standing::tests(),
        start::tests(),
        stepwise::tests(),
        sequencer::tests(),
        sqlsmith::tests(),
        structure::tests(),
        torn::tests(),
        traffic::tests(),
        turning_off::tests(),
        uninstall::tests(),
        waiting::tests(),
        way_around::tests(),
        way_around::apply::tests(),
        way_around::catalog::tests(),
        way_around::copy::tests(),
        way_around::cron::tests(),
        way_around::cursor::tests(),
        way_around::fastpath::tests(),
        way_around::function::tests(),
        way_around::held::tests(),
        way_around::loopback::tests(),
        way_around::named::tests(),
        way_around::plan::tests(),
        way_around::planning::tests(),
        way_around::replication::tests(),
        way_around::role::tests(),
        way_around::session::tests(),
        way_around::setting::tests(),
        way_around::unseen::tests(),
        window::tests(),
        witness::tests(),
        write_out::tests(),
    ];
    let can_mount = small_disk::can_be_mounted();
    if !can_mount {
        println!("count: disk_full: ignored, because no file system can be mounted here (that takes root)");
    }
    let trials = subjects.into_iter().flatten().map(|(path, test)| {
        let name = path.strip_prefix("cluster::").unwrap_or(path);
        Trial::test(name, move || {
            test();
            Ok(())
        })
        .with_ignored_flag(name.starts_with("disk_full::") && !can_mount)
    });
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials.collect());
    trail::remove_shared();
    cluster::remove_templates();
    conclusion.exit();
}
