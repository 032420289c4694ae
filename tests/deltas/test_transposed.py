"""The transpose of a delta is computed from the same numbers, in the number format that is asked for."""

import pytest
import torch

from loramerge.adapter import LowRank
from loramerge.deltas.dense import Dense
from loramerge.deltas.transposed import Transposed

OUT, WIDTH = 5, 7


def low_rank():
    return LowRank(torch.randn(3, WIDTH), torch.randn(OUT, 3), 0.3)


def dense():
    return Dense.of(torch.randn(OUT, WIDTH)).times(0.3)


@pytest.mark.parametrize("made", [low_rank, dense])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
def test_rows_are_the_columns_of_the_delta(made, dtype, close):
    pair = made()
    rows = torch.empty(2, OUT, dtype=dtype)
    Transposed(pair).loaded().rows_of_delta(3, 5, rows)
    columns = pair.delta()[:, 3:5]
    assert float((rows.double() - columns.T).abs().max()) <= close * float(columns.abs().max())


@pytest.mark.parametrize("made", [low_rank, dense])
def test_what_is_made_of_it_is_made_of_the_transpose(made):
    pair = made()
    found, wanted = Transposed(pair), pair.delta().T
    assert found.shape == (WIDTH, OUT)
    assert torch.allclose(found.delta(), wanted)
    assert torch.allclose(found.times(2.0).delta(), 2 * wanted)
    assert torch.allclose(found.rows([(4, 6), (0, 1)]).delta(), wanted[[4, 5, 0]])
    assert torch.allclose(found.kept(lambda tensor: tensor.clone).delta(), wanted)
