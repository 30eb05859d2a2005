use std::time::Duration;

use super::*;

const CHUNK: usize = 5 * 1024 * 1024;

#[tokio::test]
async fn chunks_come_in_any_order_and_the_last_missing_one_finishes_the_job() {
    let bench = Bench::new().await;
    let body: Vec<u8> = (0..2 * CHUNK + 77).map(|at| (at % 251) as u8).collect();
    let (job, file) = bench.job("clip.mp4", body.len()).await;
    let path = |n: u64| format!("/upload_jobs/{job}/files/{file}/chunks/{n}");
    let third = body[2 * CHUNK..].to_vec();
    assert_eq!(bench.chunk(&path(3), third.clone()).await.status(), 204);
    assert_eq!(bench.chunk(&path(3), third).await.status(), 204);
    let state = bench.get(&format!("/upload_jobs/{job}.json")).await;
    assert_eq!(state, json!({"id": job, "finished": null, "asset_id": null}));
    assert_eq!(bench.chunk(&path(1), body[..CHUNK].to_vec()).await.status(), 204);
    assert_eq!(bench.chunk(&path(2), vec![0; CHUNK + 1]).await.status(), 422);
    assert_eq!(bench.chunk(&path(0), vec![0; 1]).await.status(), 422);
    let last = bench.chunk(&path(2), body[CHUNK..2 * CHUNK].to_vec()).await;
    assert_eq!(last.status(), 201);
    let done: Value = last.json().await.unwrap();
    assert_eq!((&done["finished"], done["id"].as_u64()), (&json!(true), Some(job)));
    let asset = done["asset_id"].as_u64().unwrap();
    assert_eq!(bench.running.remote().bytes(asset).unwrap(), body);
    assert_eq!(
        bench.chunk(&path(2), body[CHUNK..2 * CHUNK].to_vec()).await.status(),
        201
    );
    assert_eq!(
        bench.get(&format!("/upload_jobs/{job}")).await["asset_id"].as_u64(),
        Some(asset)
    );
    assert_eq!(
        bench
            .get(&format!("/folders/{}/files", bench.root()))
            .await
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn jobs_are_checked_at_once_and_two_fields_only_with_the_chunk() {
    let bench = Bench::new().await;
    let ask = |name: &str, change: Value| {
        let mut body = json!({"folder_id": bench.root().to_string(), "file_type_id": 6001,
            "files": [{"name": name, "size": 3}], "terms": [{"term_id": 23001, "value": "me"}], "prefix": ""});
        for (field, value) in change.as_object().unwrap() {
            body[field] = value.clone();
        }
        body
    };
    let post = |body: Value| bench.post("/upload_jobs.json", body);
    assert_eq!(post(ask("no extension", json!({}))).await.0, 422);
    assert_eq!(post(ask("a.txt", json!({"file_type_id": 1}))).await.0, 422);
    assert_eq!(post(ask("a.txt", json!({"file_type_id": null}))).await.0, 422);
    assert_eq!(post(ask("a.txt", json!({"folder_id": 1}))).await.0, 404);
    let (status, empty) = post(ask("a.txt", json!({"files": [{"name": "a.txt", "size": 0}]}))).await;
    assert_eq!((status, &empty["files"]), (201, &json!([])));
    for late in [json!({"expires_on": "someday"}), json!({"keyword_ids": [1]})] {
        let (status, job) = post(ask("a.txt", late)).await;
        assert_eq!(status, 201);
        let path = format!("/upload_jobs/{}/files/{}/chunks/1", job["id"], job["files"][0]["id"]);
        assert_eq!(bench.chunk(&path, "abc").await.status(), 422);
    }
    let (_, job) = post(ask("a.txt", json!({"expires_on": "2030-01-01"}))).await;
    let path = format!("/upload_jobs/{}/files/{}/chunks/1", job["id"], job["files"][0]["id"]);
    assert_eq!(bench.chunk(&path, "too long").await.status(), 422);
    let wrong_type = bench
        .request(Method::POST, &path)
        .header("Content-Type", "text/plain")
        .body("abc");
    assert_eq!(wrong_type.send().await.unwrap().status(), 415);
    let done: Value = bench.chunk(&path, "abc").await.json().await.unwrap();
    let file = bench.get(&format!("/files/{}", done["asset_id"])).await;
    assert_eq!(
        (&file["expires_on"], &file["terms"][0]["value"]),
        (&json!("2030-01-01"), &json!("me"))
    );
}

#[tokio::test]
async fn a_version_is_queued_keeps_the_id_and_renames() {
    let bench = Bench::with(|options| options.version_lag = Duration::from_secs(5)).await;
    let file = bench
        .running
        .remote()
        .create_file(bench.root(), "old.txt", "old")
        .unwrap();
    let (status, version) = bench.post(&format!("/files/{file}/versions"), json!({})).await;
    assert_eq!(status, 201);
    let base = format!("/files/{file}/versions/{}", version["uuid"].as_str().unwrap());
    assert_eq!(bench.chunk(&format!("{base}/chunk/2"), "def").await.status(), 204);
    assert_eq!(
        bench
            .chunk(&format!("{base}/chunk/1"), vec![0; CHUNK + 1])
            .await
            .status(),
        422
    );
    let complete = |name: &str, count: Value| json!({"file_name": name, "chunk_count": count});
    let path = format!("{base}/complete");
    assert_eq!(bench.post(&path, complete("new.txt", json!(2))).await.0, 422);
    assert_eq!(bench.chunk(&format!("{base}/chunk/1"), "abc").await.status(), 204);
    assert_eq!(bench.post(&path, complete("new", json!(2))).await.0, 422);
    assert_eq!(bench.post(&path, complete("new.txt", json!(1))).await.0, 422);
    assert_eq!(bench.post(&path, complete("new.txt", json!("2"))).await.0, 201);
    assert_eq!(bench.post(&path, complete("new.txt", json!(2))).await.0, 404);
    let before = bench.get(&format!("/files/{file}")).await;
    assert_eq!((&before["filename"], &before["size"]), (&json!("old.txt"), &json!(3)));
    bench.clock.advance(Duration::from_secs(5));
    let after = bench.get(&format!("/files/{file}")).await;
    assert_eq!((&after["filename"], &after["size"]), (&json!("new.txt"), &json!(6)));
    assert!(after["updated_on"].as_str() > before["updated_on"].as_str());
    assert_eq!(&bench.running.remote().bytes(file).unwrap()[..], b"abcdef");
}

#[tokio::test]
async fn a_version_may_be_empty() {
    let bench = Bench::new().await;
    let file = bench.running.remote().create_file(bench.root(), "x.txt", "x").unwrap();
    let (_, version) = bench.post(&format!("/files/{file}/versions"), json!({})).await;
    let base = format!("/files/{file}/versions/{}", version["uuid"].as_str().unwrap());
    assert_eq!(bench.chunk(&format!("{base}/chunk/1"), "").await.status(), 204);
    let complete = json!({"file_name": "x.txt", "chunk_count": 1});
    assert_eq!(bench.post(&format!("{base}/complete"), complete).await.0, 201);
    assert_eq!(bench.get(&format!("/files/{file}")).await["size"], 0);
}

#[tokio::test]
async fn a_url_upload_has_no_size_until_it_is_fetched() {
    let bench = Bench::with(|options| {
        options.quirks.names_normalised = true;
        options.processing_lag = Duration::from_secs(10);
    })
    .await;
    let source = bench
        .running
        .remote()
        .create_file(bench.root(), "source.txt", "fetched")
        .unwrap();
    let url = bench.link(source).await["url"].clone();
    let body = json!({"filename": "Photo Release Form.docx", "folder_id": bench.root(), "file_type_id": 6001,
        "terms": null, "url": url});
    let (status, file) = bench.post("/files.json", body).await;
    assert_eq!(
        (status, &file["size"], &file["filename"]),
        (201, &json!(0), &json!("Photo-Release-Form.docx"))
    );
    assert_eq!(file["short_lived_thumbnail"], "/static/processing.png");
    let path = format!("/files/{}", file["id"]);
    for _ in 0..1000 {
        bench.clock.advance(Duration::from_secs(10));
        if bench.get(&path).await["size"] == 7 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never fetched");
}
