use std::time::Duration;

use super::*;

#[tokio::test]
async fn listings_filter_by_text_date_type_and_depth() {
    let bench = Bench::with(|options| options.seed = Seed::Small).await;
    let root = format!("/folders/{}/files.json", bench.root());
    assert_eq!(bench.get(&root).await, json!([]));
    let all = bench.get(&format!("{root}?recursive=true")).await;
    assert_eq!(all.as_array().unwrap().len(), 18);
    assert_eq!(bench.get(&format!("{root}?recursive=TRUE")).await, json!([]));
    let names = |list: &Value| -> Vec<String> {
        let list = list.as_array().unwrap().iter();
        list.map(|file| file["filename"].as_str().unwrap().to_owned()).collect()
    };
    let found = bench.get(&format!("{root}?recursive=true&query=jane")).await;
    assert_eq!(names(&found), ["Spring Hero.jpg"]);
    let found = bench.get(&format!("{root}?recursive=true&file_type_id=6002")).await;
    assert_eq!(names(&found), ["Press kit.pdf"]);
    assert_eq!(
        bench
            .get(&format!("{root}?recursive=true&updated_after=2026-01-01"))
            .await,
        json!([])
    );
    let hero = ids(&all)[0];
    let tags = json!({"tags": {"add_ids": ["190002"], "remove_ids": [190_001]}});
    assert_eq!(bench.post(&format!("/files/{hero}/tags"), tags).await.0, 200);
    let changed = bench
        .get(&format!(
            "{root}?recursive=true&updated_after=2026-06-09%2011:59:59%20GMT%2B00:00"
        ))
        .await;
    assert_eq!(names(&changed), ["Spring Hero.jpg"]);
    assert_eq!(changed[0]["tags"][0], json!({"tag_id": 190_002, "value": "Autumn"}));
    assert_eq!(
        bench
            .get(&format!("{root}?recursive=true&uploaded_after=2026-01-01"))
            .await,
        json!([])
    );
    assert_eq!(
        bench.status(Method::GET, &format!("{root}?updated_after=soon")).await,
        422
    );

    let ignoring = Bench::with(|options| {
        options.seed = Seed::Small;
        options.quirks.updated_after_ignored = true;
        options.quirks.folder_ids_missing = true;
        options.quirks.ids_as_strings = true;
    })
    .await;
    let all = ignoring
        .get(&format!("{root}?recursive=true&updated_after=2026-01-01"))
        .await;
    assert_eq!(all.as_array().unwrap().len(), 18);
    assert_eq!(
        (&all[0]["id"], &all[0]["folder_ids"]),
        (&json!("201000001"), &Value::Null)
    );
}

#[tokio::test]
async fn a_file_has_the_documented_fields() {
    let bench = Bench::with(|options| options.seed = Seed::Small).await;
    let Some(Item::File(hero)) = bench.running.remote().find("Campaigns/Spring 2026/Spring Hero.jpg") else {
        panic!("no hero");
    };
    let file = bench.get(&format!("/files/{hero}.json")).await;
    assert_eq!(
        (&file["width"], &file["content_type"]),
        (&json!(480), &json!("image/jpeg"))
    );
    assert_eq!(file["terms"][0], json!({"term_id": 23001, "value": "Jane Doe"}));
    assert_eq!((&file["deleted"], &file["expires_on"]), (&Value::Null, &Value::Null));
    let url = file["short_lived_thumbnail"].as_str().unwrap();
    let thumbnail = bench.download(url).await.bytes().await.unwrap();
    assert_eq!(image::load_from_memory(&thumbnail).unwrap().width(), 200);
    let Some(Item::File(clip)) = bench.running.remote().find("Press/Incoming clip.mp4") else {
        panic!("no clip");
    };
    let clip = bench.get(&format!("/files/{clip}.json")).await;
    assert_eq!(
        (&clip["size"], &clip["short_lived_thumbnail"]),
        (&json!(0), &json!("/static/processing.png"))
    );
    assert_eq!(
        bench
            .download(&format!("{}/static/processing.png", bench.running.origin()))
            .await
            .status(),
        200
    );
}

#[tokio::test]
async fn move_replaces_the_folders_and_sync_adds_to_them() {
    let bench = Bench::new().await;
    let remote = bench.running.remote();
    let (a, b) = (
        remote.create_folder(bench.root(), "a").unwrap(),
        remote.create_folder(bench.root(), "b").unwrap(),
    );
    let file = remote.create_file(a, "x.txt", "x").unwrap();
    let before = bench.get(&format!("/files/{file}")).await["updated_on"].clone();
    let folders = json!({"folder_ids": [b.to_string()]});
    let (status, moved) = bench.post(&format!("/files/{file}/synced_file"), folders.clone()).await;
    assert_eq!((status, &moved["folder_ids"]), (200, &json!([a, b])));
    assert_ne!(moved["updated_on"], before);
    let (status, moved) = bench.post(&format!("/files/{file}/move"), folders).await;
    assert_eq!((status, &moved["folder_ids"]), (200, &json!([b])));
    let (status, _) = bench
        .post(&format!("/files/{file}/copy"), json!({"folder_ids": [a]}))
        .await;
    assert_eq!(status, 200);
    assert_eq!(ids(&bench.get(&format!("/folders/{a}/files")).await), [file]);
    for bad in [json!({"folder_ids": []}), json!({"folder_ids": [99]}), json!({})] {
        assert_eq!(bench.post(&format!("/files/{file}/move"), bad).await.0, 422);
    }
    assert_eq!(bench.status(Method::DELETE, &format!("/files/{file}.json")).await, 204);
    assert_eq!(bench.status(Method::DELETE, &format!("/files/{file}.json")).await, 404);
    assert_eq!(bench.get(&format!("/folders/{a}/files")).await, json!([]));
}

#[tokio::test]
async fn terms_are_overwritten_or_appended_and_a_duplicate_is_independent() {
    let bench = Bench::with(|options| options.seed = Seed::Small).await;
    let Some(Item::Folder(press)) = bench.running.remote().find("Press") else {
        panic!("no press");
    };
    let file = bench.running.remote().create_file(bench.root(), "x.txt", "x").unwrap();
    let terms =
        |value: &str, overwrite: bool| json!({"terms": [{"term_id": "23001", "value": value}], "overwrite": overwrite});
    let path = format!("/files/{file}/terms");
    for (value, overwrite, want) in [("a", true, "a"), ("b", false, "a, b"), ("c", true, "c")] {
        let (status, answer) = bench.post(&path, terms(value, overwrite)).await;
        assert_eq!((status, &answer["terms"][0]["value"]), (200, &json!(want)));
    }
    let unknown = json!({"terms": [{"term_id": 1, "value": ""}], "overwrite": true});
    assert_eq!(bench.post(&path, unknown).await.0, 422);
    let copy = json!({"folder_id": press, "should_copy_metadata": true});
    let (status, copy) = bench.post(&format!("/files/{file}/duplicate"), copy).await;
    assert_eq!(
        (status, &copy["terms"][0]["value"], &copy["filename"]),
        (201, &json!("c"), &json!("x.txt"))
    );
    let bare = json!({"folder_id": press, "should_copy_metadata": false});
    let (_, bare) = bench.post(&format!("/files/{file}/dupicate"), bare).await;
    assert_eq!(bare["file_type_id"], 6002);
    bench.running.remote().replace(file, "changed").unwrap();
    let copy = copy["id"].as_u64().unwrap();
    assert_eq!(&bench.running.remote().bytes(copy).unwrap()[..], b"x");
}

#[tokio::test]
async fn a_thumbnail_can_be_set() {
    let bench = Bench::new().await;
    let file = bench.running.remote().create_file(bench.root(), "x.txt", "x").unwrap();
    let mut png = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_pixel(50, 40, image::Rgb([1, 2, 3]))
        .write_to(&mut png, image::ImageFormat::Png)
        .unwrap();
    let path = format!("/files/{file}/thumbnail");
    let set = bench.chunk(&format!("{path}?file_name=t.png"), png.into_inner()).await;
    assert_eq!(set.status(), 200);
    let url = bench.get(&format!("/files/{file}")).await["short_lived_thumbnail"].clone();
    let shown = bench.download(url.as_str().unwrap()).await.bytes().await.unwrap();
    let shown = image::load_from_memory(&shown).unwrap().to_rgb8();
    assert!(shown.get_pixel(5, 5).0.iter().all(|channel| *channel < 10));
    assert_eq!(bench.chunk(&path, "x").await.status(), 422);
    assert_eq!(bench.chunk(&format!("{path}?file_name=t.gif"), "x").await.status(), 422);
    assert_eq!(bench.chunk(&format!("{path}?file_name=t.png"), "x").await.status(), 422);
}

#[tokio::test]
async fn listings_are_late_and_direct_reads_are_fresh() {
    let bench = Bench::with(|options| options.listing_lag = Duration::from_secs(60)).await;
    let root = bench.root();
    let file = bench.running.remote().create_file(root, "x.txt", "x").unwrap();
    let (_, folder) = bench
        .post(&format!("/folders/{root}/children"), json!({"name": "f"}))
        .await;
    let listing = format!("/folders/{root}/files.json");
    let children = format!("/folders/{root}/children?page=1");
    assert_eq!(bench.get(&listing).await, json!([]));
    assert_eq!(bench.get(&children).await["folders"], json!([]));
    assert_eq!(bench.status(Method::GET, &format!("/files/{file}")).await, 200);
    assert_eq!(
        bench.status(Method::GET, &format!("/folders/{}", folder["id"])).await,
        200
    );
    bench.clock.advance(Duration::from_secs(59));
    assert_eq!(bench.get(&listing).await, json!([]));
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(ids(&bench.get(&listing).await), [file]);
    assert_eq!(
        ids(&bench.get(&children).await["folders"]),
        [folder["id"].as_u64().unwrap()]
    );
    bench.running.remote().delete_file(file).unwrap();
    assert_eq!(bench.status(Method::GET, &format!("/files/{file}")).await, 404);
    assert_eq!(ids(&bench.get(&listing).await), [file]);
    bench.clock.advance(Duration::from_secs(60));
    assert_eq!(bench.get(&listing).await, json!([]));
}

#[tokio::test]
async fn bare_arrays_come_in_pages_of_a_hundred() {
    let bench = Bench::with(|options| {
        options.seed = Seed::Files {
            folders: 2,
            files_per_folder: 150,
        };
        options.quirks.link_header = true;
    })
    .await;
    let path = format!("/folders/{}/files.json?recursive=true", bench.root());
    let first = bench.send(Method::GET, &path, None).await;
    let link = first.headers()["link"].to_str().unwrap().to_owned();
    assert!(
        link.contains("page=2") && link.contains("recursive=true") && link.ends_with("rel=\"next\""),
        "{link}"
    );
    let mut seen = ids(&first.json().await.unwrap());
    for (page, want) in [(2, 100), (3, 100), (4, 0)] {
        let next = ids(&bench.get(&format!("{path}&page={page}")).await);
        assert_eq!(next.len(), want);
        seen.extend(next);
    }
    let distinct: std::collections::BTreeSet<_> = seen.iter().collect();
    assert_eq!(distinct.len(), 300);
    assert_eq!(bench.status(Method::GET, &format!("{path}&page=0")).await, 422);
}
