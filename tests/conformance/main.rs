//! One suite for every store: what `Capabilities` declares works, and what it does not declare is refused.
//!
//! A store is plugged in by one file under `stores/`, which implements [`fixture::Fixture`], and one line in [`suite!`]
//! below. A case is one function under `cases/` and one name in [`cases!`]; it runs against every store. A case for
//! something that a store cannot do asserts the refusal and that nothing has changed.

mod cases;
mod errors;
mod fixture;
mod readme;
mod stores;
#[path = "../support/mod.rs"]
mod support;

/// Every case, as tests over one kind of store.
macro_rules! cases {
    ($make:path) => {
        $crate::tests! { $make;
            listing:
                an_empty_folder_lists_nothing,
                every_child_is_listed_over_many_pages,
                the_root_is_a_folder_without_parents,
                a_listing_agrees_with_stat,
                what_is_missing_is_not_found,
                a_missing_folder_is_no_empty_one,
                a_listing_that_fails_is_an_error,
                what_was_written_is_listed_in_the_end,
                what_was_removed_is_not_listed_in_the_end;
            reading:
                content_comes_back_whole,
                a_range_is_exactly_what_was_asked_for,
                a_bundle_carries_the_file_and_its_neighbours,
                a_broken_download_is_an_error,
                equal_content_has_equal_validators;
            creating:
                a_new_file_holds_what_was_sent,
                a_big_file_arrives_whole,
                an_empty_file_is_kept_or_refused,
                a_file_over_the_limit_is_refused,
                odd_names_arrive_or_are_refused,
                a_name_that_is_taken,
                a_name_against_the_stores_rule_is_refused,
                an_upload_that_was_overtaken_publishes_nothing,
                files_are_made_only_where_they_may_be,
                folders_are_made_only_where_they_may_be,
                altered_content_is_told_as_it_is_held,
                a_name_that_is_refused_at_once_is_never_taken,
                fields_travel_with_the_upload;
            changing:
                new_content_keeps_the_identity,
                new_content_on_an_old_base_is_a_conflict,
                new_content_and_name_in_one,
                a_file_gets_another_name,
                a_file_gets_into_another_folder,
                a_folder_gets_another_name,
                a_folder_gets_another_parent,
                what_may_not_enter_a_folder_is_told_beforehand,
                one_file_in_two_folders,
                a_copy_is_independent;
            removing:
                a_removed_file_is_gone,
                an_empty_folder_is_removed,
                a_folder_with_children_is_not_removed,
                the_root_is_not_removed,
                what_is_gone_is_gone;
            fields:
                a_field_is_set_changed_and_cleared,
                line_feeds_and_backslashes_survive,
                several_values_keep_their_order,
                many_items_are_set_at_once,
                metadata_leave_the_content_alone,
                xattr_names_lead_to_fields_and_back;
            finding:
                the_feed_tells_what_changed,
                a_search_finds_by_name,
                an_account_is_told_without_a_secret;
            together:
                new_files_in_one_call,
                moves_in_one_call,
                removals_in_one_call;
            failing:
                every_kind_of_trouble_is_an_error_and_nothing_else,
                a_server_in_trouble_publishes_nothing,
                a_lost_answer_is_not_taken_for_a_failure,
                a_hanging_server_is_given_up,
                a_wrong_login_is_told,
                a_reader_may_not_write;
        }
    };
}

/// One `#[tokio::test]` for each case.
#[macro_export]
macro_rules! tests {
    ($make:path; $($group:ident: $($case:ident),+;)+) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let fixture = $make().await;
                $crate::cases::$group::$case(&fixture).await;
            }
        )+)+
    };
}

macro_rules! suite {
    ($($store:ident: $make:path;)+) => {
        $(mod $store { cases!($make); })+
    };
}

suite! {
    memory: crate::stores::memory::whole;
    memory_like_imagerelay: crate::stores::memory::like_imagerelay;
    memory_like_flextype: crate::stores::memory::like_flextype;
    memory_like_omeka: crate::stores::memory::like_omeka;
    memory_like_im4: crate::stores::memory::like_im4;
    imagerelay: crate::stores::imagerelay::service;
    omeka: crate::stores::omeka::site;
    flextype: crate::stores::flextype::latest;
    flextype_0_9_11: crate::stores::flextype::older;
    im4_shape_a: crate::stores::im4::shape_a;
    im4_shape_b: crate::stores::im4::shape_b;
}
