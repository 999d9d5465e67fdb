-- To version 3: a mark that the file is this library's ("sess"), and which file it is.
-- If the inode is another file's, the content was copied here from there. Then a log beside the
-- file may still be that of what was here before.

PRAGMA application_id = 1936028531;

CREATE TABLE file (
    inode TEXT NOT NULL
);
