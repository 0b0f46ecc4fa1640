"""Untrusted files to frames.

isolation.py    work in processes that may crash, hang or eat memory without harm
timeline.py     when frames begin, and which decoder can be trusted with the file
reading.py      frames by their times, from decord or PyAV
image.py        pictures, which are videos of one frame
frames.py       which frames of a clip, at which size, and how many tokens they become
prepare.py      a video to clips; row_media.py: the media of one annotated row to its frames
standardise.py  videos re-encoded alike, where format would betray the class; standard.py: one of
                them; look.py, colours.py: what must be known of its source
"""
