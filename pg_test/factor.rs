//! How long a second factor holds in a session, and what ends it. Codes themselves are the cluster tests'.

use pgrx::prelude::*;

#[pg_schema]
mod tests {
    use crate::cache::Person;
    use crate::core::tier::Tier;
    use crate::factor::memory::clock;
    use crate::factor::step_up::{begin, forget, holds, holds_at};
    use pgrx::prelude::*;

    const ENROLLED: i64 = 849_000_000_000_000;
    const MINUTE: i64 = 60_000_000;

    fn person(name: &str, enrolled_at: Option<i64>) -> Person {
        let (name, post) = (name.to_owned(), "region_admin".to_owned());
        Person {
            name,
            post,
            capabilities: Vec::new(),
            suspended: false,
            valid_until: None,
            reinstated_at: None,
            enrolled_at,
            department: None,
            supervisor: None,
            terms: Vec::new(),
        }
    }

    #[pg_test]
    fn a_step_up_holds_for_the_tier_s_term() {
        let chen = person("Chen", Some(ENROLLED));
        assert!(!holds(Tier::Critical, &chen));
        begin("Chen", ENROLLED);
        let now = clock();
        for (tier, minutes) in [(Tier::Critical, 15), (Tier::Important, 30)] {
            assert!(holds(tier, &chen));
            assert!(holds_at(now + minutes * MINUTE - 1_000_000, tier, &chen));
            assert!(!holds_at(now + minutes * MINUTE, tier, &chen));
        }
        assert!(!holds_at(now - MINUTE, Tier::Important, &chen), "the clock was set back");
        forget();
        assert!(!holds(Tier::Important, &chen));
    }

    #[pg_test]
    fn a_step_up_belongs_to_a_person_and_an_enrolment() {
        begin("Chen", ENROLLED);
        assert!(!holds(Tier::Critical, &person("Liu", Some(ENROLLED))));
        assert!(!holds(Tier::Critical, &person("Chen", Some(ENROLLED + 1))), "enrolled anew");
        assert!(!holds(Tier::Critical, &person("Chen", None)), "reset");
    }

    #[pg_test]
    fn a_step_up_rests_while_another_role_is_put_on() {
        Spi::run("CREATE ROLE somebody").unwrap();
        let chen = person("Chen", Some(ENROLLED));
        begin("Chen", ENROLLED);
        for change in ["SET LOCAL ROLE somebody", "SET LOCAL SESSION AUTHORIZATION somebody"] {
            Spi::run(change).unwrap();
            assert!(!holds(Tier::Critical, &chen), "{change}");
            Spi::run("RESET ROLE; RESET SESSION AUTHORIZATION").unwrap();
            assert!(holds(Tier::Critical, &chen), "back from {change}");
        }
    }
}
