def test_it(make_parts):
    p = make_parts()
    print(len(p.dataset.rows()), [ (r.row_id,r.split,r.sampled_fps,r.width) for r in p.dataset.rows()])
