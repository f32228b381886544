"""What pages cost when the archive is large (`script/bench pages`)."""
