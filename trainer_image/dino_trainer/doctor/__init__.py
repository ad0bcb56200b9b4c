"""What this machine can do, line by line: each is found, doubtful or missing, with what to do.

`examination` asks everything and knows no details; `host`, `gpu`, `software` and `s3` each look at
one part. What they look at is an argument, so that tests can show them other machines. They never
print what a credential is.
"""
