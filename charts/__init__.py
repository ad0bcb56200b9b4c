"""The Helm chart, and what is generated beside it. Helm reads only the folders of charts."""
