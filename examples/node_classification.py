"""Node classification with PyG: the context around forward is the one line. Needs torch_geometric.

A graph of four communities, made at random; ``gnn`` may be any of PyG's networks, such as ``GAT`` or ``GraphSAGE``.
"""

import torch
import torch.nn.functional as F
from torch_geometric.nn import GCN
from torch_geometric.utils import stochastic_blockmodel_graph

import gact

COMMUNITIES, NODES = 4, 500


def main() -> None:
    torch.manual_seed(0)
    chances = torch.full((COMMUNITIES, COMMUNITIES), 0.001) + 0.01 * torch.eye(COMMUNITIES)
    edges = stochastic_blockmodel_graph([NODES] * COMMUNITIES, chances)
    labels = torch.arange(COMMUNITIES).repeat_interleave(NODES)
    features = F.one_hot(labels, COMMUNITIES) + 2.0 * torch.randn(len(labels), COMMUNITIES)
    training = torch.rand(len(labels)) < 0.2

    gnn = GCN(COMMUNITIES, 128, num_layers=3, out_channels=COMMUNITIES, dropout=0.5, norm="batch_norm")
    optimizer = torch.optim.Adam(gnn.parameters(), lr=0.01)
    compressor = gact.Compressor(gnn, bits=4)
    for _ in range(30):
        with compressor:
            loss = F.cross_entropy(gnn(features, edges)[training], labels[training])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    gnn.eval()
    with torch.no_grad():
        correct = gnn(features, edges).argmax(dim=1) == labels
    print(f"loss {loss.item():.3f}, accuracy on other nodes {correct[~training].float().mean():.1%}")
    print(compressor.report())


if __name__ == "__main__":
    main()
