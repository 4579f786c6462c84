"""Shap-E as it was published (arXiv:2305.02463; shap-e's notebooks).

    python sample.py shap_e_published --prompt "a corgi" --model FOLDER [--clip FOLDER]
    python sample.py shap_e_published --image corgi.png --model FOLDER

FOLDER holds published files by their names: text_cond.pt for words, image_cond.pt for pictures, and vector_decoder.pt
or transmitter.pt. CLIP is openai/clip-vit-large-patch14 from the Hub, or a folder of it. To train a network further:

    python train.py shap_e_text --warm FOLDER/text_cond.pt --encoder FOLDER/transmitter.pt --shapes.points 16384
        --clip openai/clip-vit-large-patch14 --shapes.folder MESHES
"""

from jax3d.shap_e import ShapE

config = ShapE(model="shap-e", stretched=True)
