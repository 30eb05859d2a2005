use std::time::Duration;

use super::*;

#[tokio::test]
async fn a_link_serves_ranges_without_a_key_until_its_day_or_its_deletion() {
    let bench = Bench::new().await;
    let file = bench
        .running
        .remote()
        .create_file(bench.root(), "a b.txt", "0123456789")
        .unwrap();
    let link = bench.link(file).await;
    assert_eq!(
        (&link["processing"], link["asset_id"].as_u64()),
        (&json!(false), Some(file))
    );
    let url = link["url"].as_str().unwrap();
    assert!(url.ends_with("/a%20b.txt"), "{url}");
    let whole = bench.download(url).await;
    assert_eq!(
        (whole.status().as_u16(), &whole.headers()["content-type"]),
        (200, &"text/plain".parse().unwrap())
    );
    let etag = whole.headers()["etag"].clone();
    assert!(whole.headers().contains_key("last-modified"));
    assert_eq!(&whole.bytes().await.unwrap()[..], b"0123456789");
    let part = bench.client.get(url).header("Range", "bytes=2-4").send().await.unwrap();
    assert_eq!(
        (part.status().as_u16(), &part.headers()["content-range"]),
        (206, &"bytes 2-4/10".parse().unwrap())
    );
    assert_eq!(part.headers()["etag"], etag);
    assert_eq!(&part.bytes().await.unwrap()[..], b"234");
    assert_eq!(bench.running.counters().content, 2);

    assert_eq!(
        ids(&bench.get("/quick_links.json").await),
        [link["id"].as_u64().unwrap()]
    );
    bench.clock.advance(Duration::from_secs(3 * 86_400));
    assert_eq!(bench.download(url).await.status(), 410);
    let path = format!("/quick_links/{}.json", link["id"]);
    assert_eq!(bench.status(Method::DELETE, &path).await, 204);
    assert_eq!(bench.status(Method::DELETE, &path).await, 404);
    assert_eq!(bench.download(url).await.status(), 404);
    for bad in [
        json!({"asset_id": file}),
        json!({"asset_id": file, "purpose": "x", "expires": "2020-01-01"}),
    ] {
        assert_eq!(bench.post("/quick_links.json", bad).await.0, 422);
    }
    assert_eq!(
        bench
            .post("/quick_links.json", json!({"asset_id": 1, "purpose": "x"}))
            .await
            .0,
        404
    );
}

#[tokio::test]
async fn an_old_link_serves_what_the_knob_says() {
    for (knob, want) in [
        (LinkAfterVersion::OldBytes, Some("old")),
        (LinkAfterVersion::NewBytes, Some("new")),
        (LinkAfterVersion::Gone, None),
    ] {
        let bench = Bench::with(|options| options.quirks.link_after_version = knob).await;
        let file = bench
            .running
            .remote()
            .create_file(bench.root(), "a.txt", "old")
            .unwrap();
        let url = bench.link(file).await["url"].as_str().unwrap().to_owned();
        assert_eq!(bench.download(&url).await.text().await.unwrap(), "old");
        bench.running.remote().replace(file, "new").unwrap();
        let answer = bench.download(&url).await;
        match want {
            Some(want) => assert_eq!(answer.text().await.unwrap(), want),
            None => assert_eq!(answer.status(), 404),
        }
        bench.running.remote().delete_file(file).unwrap();
        assert_eq!(bench.download(&url).await.status(), 404);
    }
}

#[tokio::test]
async fn the_sample_library_is_whole() {
    let bench = Bench::with(|options| options.seed = Seed::Small).await;
    let remote = bench.running.remote();
    let tree = bench
        .download(&format!("{}/_emulator/tree", bench.running.origin()))
        .await;
    let tree: TreeFolder = tree.json().await.unwrap();
    let names: Vec<&str> = tree.folders.iter().map(|folder| &*folder.name).collect();
    assert_eq!(names, ["Campaigns", "Press", "Archive", "Empty"]);
    let press = &tree.folders[1];
    assert_eq!(press.files.iter().filter(|file| file.name == "Report.txt").count(), 2);
    let logo = press.files.iter().find(|file| file.name == "Logo.png").unwrap();
    assert_eq!(logo.folder_ids.len(), 2);
    assert!(tree.folders[0].files.contains(logo));
    let footage = &tree.folders[2].files[0];
    assert_eq!(footage.size, 64 << 20);
    let link = bench.link(footage.id).await;
    let tail = bench
        .client
        .get(link["url"].as_str().unwrap())
        .header("Range", "bytes=67108860-")
        .send()
        .await
        .unwrap();
    assert_eq!(
        tail.bytes().await.unwrap(),
        remote.bytes(footage.id).unwrap().slice(67_108_860..)
    );
    let collections = bench.get("/collections.json").await;
    let files = bench
        .get(&format!("/collections/{}/files.json", ids(&collections)[0]))
        .await;
    assert_eq!(files.as_array().unwrap().len(), 3);
    assert_eq!(remote.file(logo.id).unwrap().name, "Logo.png");
}

#[tokio::test]
async fn the_large_library_has_sixty_folders_and_a_thousand_files() {
    let bench = Bench::with(|options| options.seed = Seed::Large).await;
    fn count(folder: &TreeFolder) -> (usize, usize) {
        let below = folder.folders.iter().map(count);
        below.fold((folder.folders.len(), folder.files.len()), |sum, more| {
            (sum.0 + more.0, sum.1 + more.1)
        })
    }
    assert_eq!(count(&bench.running.remote().tree(false)), (60, 1000));
}
