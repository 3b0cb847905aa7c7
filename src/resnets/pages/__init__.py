"""Every HTML page and chart: one offline file each."""
