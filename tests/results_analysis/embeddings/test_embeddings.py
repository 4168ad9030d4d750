"""Projection, clusters and maps of features."""

import builtins
import importlib.util

import numpy as np
import pytest

from results_analysis.embeddings.clusters import NOISE, Clusters, agreement, clusters_of
from results_analysis.embeddings.image_map import ImageMap, by_category
from results_analysis.embeddings.map_page import draw_interactive_map, write_map_page
from results_analysis.embeddings.map_png import draw_map
from results_analysis.embeddings.projection import ProjectionError, check_installed, projected
from results_analysis.plots.style import GREY


@pytest.fixture(scope="module")
def blobs():
    """60 images around three far points of 70 features, the sizes of the groups 30, 20 and 10; and their groups."""
    random = np.random.default_rng(0)
    groups = np.repeat([0, 1, 2], [30, 20, 10])
    return random.normal(size=(3, 70))[groups] * 20 + random.normal(size=(60, 70)), groups


@pytest.mark.parametrize("reduction", ["pca", "tsne", pytest.param("umap", marks=pytest.mark.slow)])
def test_a_projection_keeps_groups_apart_and_is_the_same_for_the_same_seed(blobs, reduction):
    features, groups = blobs
    plane = projected(features, reduction, seed=1)
    assert plane.shape == (60, 2)
    assert agreement(clusters_of(plane, "kmeans", seed=0, count=3), groups.tolist()).adjusted_rand > 0.9
    assert np.array_equal(plane, projected(features, reduction, seed=1))
    assert np.isfinite(projected(features[:3], reduction, seed=0)).all()


@pytest.mark.parametrize("reduction", ["pca", "tsne"])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_few_images_have_a_place_each(reduction, count):
    plane = projected(np.random.default_rng(0).normal(size=(count, 8)), reduction, seed=0)
    assert np.isfinite(plane).all()
    assert len(np.unique(plane, axis=0)) == count


def test_the_number_of_clusters_is_chosen_and_the_largest_is_the_first(blobs):
    features, groups = blobs
    for clustering in ("kmeans", "hdbscan"):
        found = clusters_of(features, clustering, seed=0)
        assert found.number == 3
        assert np.bincount(found.of).tolist() == [30, 20, 10]
        assert found.silhouette > 0.8
        assert agreement(found, groups.tolist()) == (1.0, pytest.approx(1.0))


def test_hdbscan_leaves_an_outlier_in_no_cluster(blobs):
    features, _ = blobs
    found = clusters_of(np.vstack([features, np.full(70, 500.0)]), "hdbscan", seed=0)
    assert (found.of[-1], found.noise, found.number) == (NOISE, 1, 3)


def test_agreement_is_that_of_two_partitions():
    of = np.array([0, 0, 1, 1])
    assert agreement(Clusters(of, None), list("aabb")).adjusted_rand == 1
    assert agreement(Clusters(of, None), list("abab")).adjusted_rand < 0


@pytest.mark.parametrize(
    ("features", "ask", "message"),
    [
        (np.ones((1, 4)), {"clustering": "kmeans"}, "only one image"),
        (np.ones((5, 4)), {"clustering": "kmeans"}, "all 5 images have the same features"),
        (np.eye(3), {"clustering": "kmeans", "count": 4}, "--clusters 4: there are only 3 different images"),
        (np.eye(3), {"clustering": "hdbscan"}, "a cluster has at least 5 images, and there are 3 in all"),
    ],
)
def test_what_cannot_be_clustered_is_said(features, ask, message):
    with pytest.raises(ProjectionError, match=message):
        clusters_of(features, seed=0, **ask)


def test_umap_needs_three_images():
    with pytest.raises(ProjectionError, match="umap needs at least 3 images"):
        projected(np.eye(2), "umap", seed=0)


def test_umap_without_its_library_is_said(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "umap" else builtins)
    with pytest.raises(ProjectionError, match="pip install 'thaw-search\\[umap\\]'"):
        check_installed("umap")


# --- maps -----------------------------------------------------------------------------------------------------------


def map_of(classes, images=400):
    random = np.random.default_rng(0)
    names = [f"class {i % classes}" for i in range(images)]
    return ImageMap(
        title="400 <images>",
        axes=("x", "y"),
        x=random.normal(size=images),
        y=random.normal(size=images),
        names=[f"{i}.png" for i in range(images)],
        colourings=[by_category("label", names, none="unknown"), by_category("cluster", [None, *names[1:]], none="no")],
        thumbnails={0: "data:image/jpeg;base64,AA=="},
    )


def test_categories_differ_in_colour_or_shape_and_numbers_come_in_their_order():
    categories = by_category("cluster", [*map(str, range(48)), None, "10"], none="in no cluster").categories
    assert [category.name for category in categories] == ["in no cluster", *map(str, range(48))]
    assert categories[0].colour == GREY
    assert len({(category.colour, category.shape) for category in categories}) == 49
    assert categories[11].images.tolist() == [10, 49]


def test_few_classes_have_a_legend_and_many_are_named_where_they_lie():
    few, many = draw_map(map_of(2)).axes[0], draw_map(map_of(200)).axes[0]
    assert [text.get_text() for text in few.get_legend().get_texts()] == ["class 0", "class 1"]
    assert many.get_legend() is None
    assert many.get_title() == f"label: {len(many.texts)} of 200 named"


def test_the_page_shows_one_colouring_at_a_time_and_loads_nothing(tmp_path):
    figure = draw_interactive_map(map_of(3))
    assert [trace.visible for trace in figure.data] == [True] * 3 + [False] * 4
    assert figure.layout.updatemenus[0].buttons[1].args[0] == {"visible": [False] * 3 + [True] * 4}
    assert figure.data[0].customdata[0][0] == "0.png<br>class 0"
    write_map_page(map_of(3), tmp_path / "map.html")
    html = (tmp_path / "map.html").read_text()
    assert "400 &lt;images&gt;" in html
    assert 'src="http' not in html
