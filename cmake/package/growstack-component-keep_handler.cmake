# What the component keep_handler needs: nothing.
