"""What a served model is made of: from a network to a folder that TF Serving loads.

source         what is exported, and what its card says
decode         files of faces -> pixels, within limits
freeze         a traced function -> a graph of constants, normalisations folded
saved_model    the graph with its signatures -> saved_model.pb
measure        what the graph costs or gains against the network
card           what the model is, was trained on, and is worth
goldens        faces with the answers that the model must give
warmup         the requests that TF Serving replays when it loads the model
server         the files that TF Serving is configured by
publish        versions that appear whole or not at all; hashes
exported       an export, loaded
refusal, predict_request   what clients and server say to each other
"""
