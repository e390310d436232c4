"""Forms and small widgets that the tabs share, made by magicgui.

A tab makes the form of its options, keeps no copy of them, and draws what the session says::

    form = OptionsForm(session.segmenting.options)
    form.changed.connect(session.segmenting.set_options)   # the dataclass goes out
    form.value = session.segmenting.options                # and comes in, when the session has changed

and so with layers: ``LayerChooser(lambda: session.layers.images, label="&Image")``, with
``chooser.draw(session.image)`` when the session has changed.
"""
