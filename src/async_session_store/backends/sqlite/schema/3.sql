-- To version 3: a mark that the file is this library's ("sess"), and the inode of the file.
-- If the inode is another file's, the content was copied from there. Then a log beside the file may
-- still belong to the file that was here before.

PRAGMA application_id = 1936028531;

CREATE TABLE file (
    inode TEXT NOT NULL
);
