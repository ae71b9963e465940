-- The installed jobs in pg_cron, in plain SQL: what SELECT steward.schedule_jobs('job_night') makes of them, for whoever
-- keeps schedules in files. As a superuser, in the home database, which cron.database_name must name; job_night stands
-- for a login of the post service. pg_cron 1.4 reads the schedules in GMT.
--
-- The first call changes the policy: once that is active, it belongs into an approved operation. Elsewhere than in
-- pg_cron it is all that is needed: crontab and systemd then run as that login
--     psql --no-psqlrc --tuples-only --no-align --command="SELECT steward.run_job('daily_check')" school | grep --quiet t
SELECT steward.set_job_login('job_night');

SELECT cron.schedule_in_database('steward: archive_audit', '10 17 * * *',
    $$SELECT steward.run_job('archive_audit')$$, current_database(), 'job_night');
SELECT cron.schedule_in_database('steward: check_records', '20 18 * * *',
    $$SELECT steward.run_job('check_records')$$, current_database(), 'job_night')
    FROM steward.job WHERE name = 'check_records';
SELECT cron.schedule_in_database('steward: check_reviews', '*/15 * * * *',
    $$SELECT steward.run_job('check_reviews')$$, current_database(), 'job_night');
SELECT cron.schedule_in_database('steward: daily_check', '0 18 * * *',
    $$SELECT steward.run_job('daily_check')$$, current_database(), 'job_night');
SELECT cron.schedule_in_database('steward: purge_archive', '40 17 * * *',
    $$SELECT steward.run_job('purge_archive')$$, current_database(), 'job_night');
SELECT cron.schedule_in_database('steward: purge_images', '50 17 * * *',
    $$SELECT steward.run_job('purge_images')$$, current_database(), 'job_night');
SELECT cron.schedule_in_database('steward: revoke_lapsed', '*/5 * * * *',
    $$SELECT steward.run_job('revoke_lapsed')$$, current_database(), 'job_night');
SELECT cron.schedule_in_database('steward: verify_chain', '30 19 * * 6',
    $$SELECT steward.run_job('verify_chain')$$, current_database(), 'job_night');
SELECT cron.schedule_in_database('steward: verify_new', '7 * * * *',
    $$SELECT steward.run_job('verify_new')$$, current_database(), 'job_night');
