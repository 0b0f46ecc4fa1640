"""Sources of a dataset: folders of videos, and annotated rows in the formats of other tools.

folders.py    videos under real/ and fake/, and the label that their place means
registry.py   the formats of rows, and how one is told from another
factr1.py, fakesv.py, chat.py, tables.py
one family of formats each: a record becomes a row, or a drop with its reason
record.py, row.py, polarity.py, grouping.py
what these share: fields of a record, the row, what an answer means, whose row it is
files.py      records out of files; scan.py: all rows of a source
media.py      where the media of rows are; archives.py: members of zip, 7z and tar as files
"""
