module assay.invalid/pause

go 1.26.0
