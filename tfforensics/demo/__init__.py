"""The embedded default data: portraits in motion, and imitations of four manipulations.

Without any data set at hand, `folder.build` writes one in the folder shape of FaceForensics++, so
that the same code runs on it as on the real one. Nothing in it is real: the people are drawn
by a program (or animated from photographs that the user gives), and what carries the names
Deepfakes, Face2Face, FaceSwap and NeuralTextures are IMITATIONS of their traces. Its use is
to show that everything works, not how well a detector finds the real manipulations.

From the bottom up:

    field                       brushes: scalar fields over a picture
    person, head, hair, scene   a drawn person, and what is around them
    light                       shading
    portrait, photograph        a still face with depth and landmarks, drawn or from a file
    performance                 what a face does in a clip
    expression, animate         the face doing it
    imitate                     the four imitations
    guest                       people who are not imitated
    video, film, folder         clips, and the folder of them
    record                      the records of that folder, which training builds

Each is imported by its own name, so that `python -m tfforensics.demo --help` loads none of them.
"""
