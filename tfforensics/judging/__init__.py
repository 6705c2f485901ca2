"""What `predict` is made of: from files to judgements that can be argued with.

inputs      what the command line names -> the files to judge
subject     a file -> its faces, cut out as the model's card asks, and its JPEG quality
answers     the faces of many files -> the model's answers, in full batches
verdict     answers -> calls with intervals, by person and by file
stability   the same faces at lower qualities, and where the call flips
judge       all of these in a row
pictures    faces and attention maps, small
tables      judgements -> terminal, JSON, CSV
page        judgements -> one HTML file
"""
