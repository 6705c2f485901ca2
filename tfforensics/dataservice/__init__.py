"""Training batches made on other machines, by tf.data service.

address    grpc://HOST:PORT
loopback   keeps a server to this machine, which TensorFlow itself cannot
handshake  is there a dispatcher, and of these versions
order      numbered batches in any order -> every one once, in order
client     what training asks

`python -m tfforensics.dataservice` starts a dispatcher or a worker.
"""
